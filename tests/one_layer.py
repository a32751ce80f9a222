"""A config whose network compiles in a blink: for tests of the run around it, in processes of their own."""

import dataclasses
import os

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

import tiny
from iassf_jax.data import images
from iassf_jax.fuse.bulk import ChunkFuser
from iassf_jax.models import MODELS


class OneLayer(nn.Module):
    """The same sums of all four channels at every pixel."""

    size_multiple = 1

    @nn.compact
    def __call__(self, visible, infrared, density=None, region=None):
        x = nn.Dense(6, name="mix")(jnp.concatenate([visible, infrared], axis=-1))
        return {"dehazed": visible + x[..., :3], "fused": visible + x[..., 3:]}


MODELS["one_layer"] = OneLayer


@dataclasses.dataclass
class ChunkFuserThatKnowsIt(ChunkFuser):
    """Who unpickles it, a worker of Ray's, imports this module and so has the network.

    It is as heavy as one with the weights of a real network.
    """

    ballast: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2**20))


def write_pairs(root):
    """Images of noise for `get_config`, which finds them by the variable ONE_LAYER_ROOT."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 5)):
        for i in range(count):
            for name, shape in (("vi", (40, 56, 3)), ("ir", (40, 56))):
                pixels = rng.integers(0, 256, shape, np.uint8)
                images.write_image(root / split / name / f"{split}{i}.png", pixels)


def get_config():
    config = tiny.get_config()
    with config.unlocked():
        config.model = {"name": "one_layer"}
        config.data.source = "pairs"
        config.data.root = os.environ.get("ONE_LAYER_ROOT", "")
        config.data.haze.kinds = ("msrs_release",)
        config.optim.learning_rate = 1e-2
        config.train.update(batch_size=8, steps=20)
        config.eval.update(every=10, num_images=5)
        config.checkpoint.every = 10
    return config
