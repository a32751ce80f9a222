"""A config whose network compiles in a blink: for tests of the run around it, in processes of their own."""

import flax.linen as nn
import jax.numpy as jnp

import tiny
from iassf_jax.models import MODELS


class OneLayer(nn.Module):
    """The same sums of all four channels at every pixel."""

    size_multiple = 1

    @nn.compact
    def __call__(self, visible, infrared, density=None, region=None):
        x = nn.Dense(6, name="mix")(jnp.concatenate([visible, infrared], axis=-1))
        return {"dehazed": visible + x[..., :3], "fused": visible + x[..., 3:]}


MODELS["one_layer"] = OneLayer


def get_config():
    config = tiny.get_config()
    with config.unlocked():
        config.model = {"name": "one_layer"}
        config.data.scenes.update(num_train=40, num_val=5)
        config.optim.learning_rate = 1e-2
        config.train.update(batch_size=8, steps=20)
        config.eval.update(every=10, num_images=5)
        config.checkpoint.every = 10
    return config
