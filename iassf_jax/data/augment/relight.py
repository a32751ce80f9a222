"""Clear visible images in another light, before any haze: dusk, lamps, other cameras' tone and white balance.

A few hundred pairs have few lights, and a network takes for haze what is only dim or pale. Everything is off unless a
config says otherwise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from iassf_jax.data.augment.drawn import Range, draw, happens, range_problems

Array = np.ndarray

# Field of `data.relight` -> how far it may reach.
_RANGES: Mapping[str, Range] = {
    "gain": (0.01, 10),
    "gamma": (0.1, 10),
    "tint": (-0.9, 0.9),
    "black": (0, 0.9),
}


def problems_of(settings: Mapping[str, Any]) -> list[str]:
    """What cannot work in a `data.relight` section, a sentence each."""
    return range_problems("data.relight", settings, ("chance",), _RANGES)


def relight(clear: Array, rng: np.random.Generator, settings: Mapping[str, Any]) -> Array:
    """The image in another light, or as it is: `black + (1 - black) * gain * (1 + tint) * x ** gamma` of 0..1.

    Args:
        clear: uint8 or uint16 `[H, W, 3]`, RGB.
        rng: of all draws; nothing is drawn where `chance` is 0. Tint is drawn for each colour.
        settings: the `data.relight` section of a config.

    Returns:
        Of the same type and shape.
    """
    if not happens("chance", rng, settings):
        return clear
    gain, gamma, black = (draw(name, rng, settings) for name in ("gain", "gamma", "black"))
    tint = np.array([draw("tint", rng, settings) for _ in range(3)])
    maximum = np.iinfo(clear.dtype).max
    x = np.arange(maximum + 1)[:, None] / maximum
    levels = np.clip(black + (1 - black) * gain * (1 + tint) * x**gamma, 0, 1)
    table = np.rint(levels * maximum).astype(clear.dtype)
    return np.stack([table[:, c][clear[..., c]] for c in range(3)], axis=-1)
