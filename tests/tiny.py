"""A config that trains in seconds: generated scenes of 40x56 and a very small network."""

import jax
import jax.numpy as jnp

from configs import msrs
from iassf_jax.models import build_model, full_settings
from iassf_jax.weights.formats import Weights

NARROW = {
    "name": "iassf",
    "channels": 8,
    "prompt_size": 4,
    "restoration_blocks": (1, 1, 1),
    "fusion_channels": 4,
    "fusion_blocks": 3,
    "heads_per_channels": 4,
}
"""The paper's network, narrow, with each of its parts."""


def get_config():
    config = msrs.get_config()
    with config.unlocked():
        config.model.update(
            channels=4, prompt_size=4, restoration_blocks=(1,), fusion_channels=4, fusion_blocks=1, heads_per_channels=4
        )
        config.data.source = "scenes"
        config.data.crop = 24
        config.data.haze.kinds = ("depth", "msrs_release")
        config.data.scenes.update(num_train=5, num_val=2, height=40, width=56)
        config.train.update(batch_size=2, steps=4, log_every=1)
        config.eval.update(every=0, num_images=2, num_samples=1)
        config.checkpoint.every = 2
    return config


def weights():
    """Fresh weights of that network."""
    settings = full_settings(dict(get_config().model))
    images = (jnp.zeros((1, 8, 8, channels)) for channels in (3, 1))
    return Weights(settings, jax.jit(build_model(settings).init)(jax.random.key(0), *images))
