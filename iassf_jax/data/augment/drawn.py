"""Settings that are drawn anew for each image: chances, and ranges as (low, high)."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Range = tuple[float, float]
"""The lowest and the highest value that makes sense."""


def range_problems(
    section: str, settings: Mapping[str, Any], chances: Iterable[str], ranges: Mapping[str, Range]
) -> list[str]:
    """What cannot work in a config's section of such settings, a sentence each."""
    problems = [f"{section} has no {name!r}" for name in settings if name not in (*chances, *ranges)]
    for name in chances:
        if not 0 <= settings[name] <= 1:
            problems.append(f"{section}.{name} is {settings[name]}: use 0 to 1")
    for name, (lowest, highest) in ranges.items():
        pair = settings[name]
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and lowest <= pair[0] <= pair[1] <= highest):
            problems.append(f"{section}.{name} is {pair}: give (low, high) between {lowest:g} and {highest:g}")
    return problems


def happens(name: str, rng: np.random.Generator, settings: Mapping[str, Any]) -> bool:
    """With the chance of this name; nothing is drawn where it is 0."""
    return settings[name] > 0 and rng.random() < settings[name]


def draw(name: str, rng: np.random.Generator, settings: Mapping[str, Any]) -> float:
    """A number from the range of this name."""
    return float(rng.uniform(*settings[name]))
