"""The place of a scene: what sort it is, how its road runs, where the camera stands, and the weather."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from iassf_jax.scenes.canvas import NEAR, Camera, Climate
from iassf_jax.scenes.materials import pick


class Kind(NamedTuple):
    """What a sort of place holds: ranges as (low, high), counts or metres."""

    lanes: tuple[int, int]
    pavement: tuple[float, float]
    setback: tuple[float, float]  # from the pavement to the buildings
    storeys: tuple[float, float] | None  # building heights in metres; None: no buildings
    trees: float  # chance a slot along the road
    vehicles: tuple[int, int]
    people: tuple[int, int]
    lamps: bool
    rails: float  # chance of a fence or guard rail, a side


KINDS = {
    "street": Kind((2, 4), (1.8, 4.5), (0.0, 2.0), (7, 42), 0.35, (1, 8), (1, 8), True, 0.25),
    "suburb": Kind((2, 2), (1.2, 2.2), (3.0, 8.0), (4, 8), 0.6, (0, 4), (1, 4), True, 0.25),
    "country": Kind((2, 2), (0.0, 0.0), (10.0, 25.0), None, 0.5, (0, 3), (0, 3), False, 0.3),
    "highway": Kind((4, 6), (0.0, 0.0), (12.0, 20.0), None, 0.35, (3, 10), (0, 1), True, 0.95),
    "park": Kind((1, 2), (0.0, 2.0), (6.0, 16.0), (8, 20), 0.85, (0, 1), (2, 9), True, 0.35),
}
# Open land without a road, drawn where it is asked for: far skylines over water, fields and snow.
OPEN_KINDS = {
    "shore": Kind((1, 1), (0.0, 0.0), (0.0, 0.0), None, 0.3, (0, 0), (0, 3), False, 0.0),
    "plain": Kind((1, 1), (0.0, 0.0), (0.0, 0.0), None, 0.6, (0, 0), (0, 4), False, 0.0),
}
LIGHTINGS = ("day", "dusk", "night")
PLACES = (*KINDS, *OPEN_KINDS)
KIND_ORDER = ("street", "street", "street", "suburb", "suburb", "country", "highway", "park")


class Setting(NamedTuple):
    """The place, the camera and the weather of one scene."""

    kind: Kind
    name: str
    camera: Camera
    climate: Climate
    overcast: bool
    half: float  # half width of the road, metres
    lanes: int
    pavement: float
    centre: float  # road centre beside the camera
    heading: float  # sideways metres a metre ahead
    bend: float  # curvature, 1 / metres
    across: float | None  # distance of a road that crosses the view; None: the road runs away from the camera

    def at(self, s: float, t: float) -> tuple[float, float]:
        """World (x, z) of the point s metres along the road and t metres to its right (or behind it, if across)."""
        if self.across is not None:
            return s, self.across + t
        straight = 120.0  # the bend ends here
        near = min(s, straight)
        return self.centre + self.heading * s + self.bend * near * (0.5 * near + max(s - straight, 0.0)) + t, s

    @property
    def span(self) -> tuple[float, float]:
        """First and last metre of the road that can be seen."""
        return (-60.0, 60.0) if self.across is not None else (NEAR, 400.0)


def draw_setting(rng: np.random.Generator, lighting: str, height: int, width: int, name: str | None = None) -> Setting:
    """Draw place (unless its name is given, one of `PLACES`), camera and weather."""
    drawn = pick(rng, KIND_ORDER)
    name = name or drawn
    kind = (KINDS | OPEN_KINDS)[name]
    lanes = int(rng.integers(kind.lanes[0], kind.lanes[1] + 1))
    half = lanes * rng.uniform(2.9, 3.6) / 2 + (rng.uniform(0, 2.2) if name == "street" else 0.3)
    across = rng.random() < 0.14 and name in ("street", "suburb", "park")
    high = rng.uniform(2.5, 6.0) if rng.random() < 0.2 else rng.uniform(1.3, 2.0)
    camera = Camera(
        rng.uniform(0.75, 1.2) * width, width * rng.uniform(0.36, 0.64), height * rng.uniform(0.36, 0.6), high
    )
    place = rng.uniform(-0.6, 0.6) * half if rng.random() < 0.75 else rng.uniform(-1.1, 1.1) * (half + 1.0)
    bend = rng.normal(0, 1 / 450) if rng.random() < 0.65 else 0.0
    overcast = bool(rng.random() < 0.4)
    elevation, azimuth = np.deg2rad(rng.uniform(22, 62)), rng.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    sun = (float(flat * np.sin(azimuth)), float(np.sin(elevation)), float(flat * np.cos(azimuth)))
    air = rng.uniform(5, 21) if lighting == "day" else rng.uniform(2, 17)
    climate = Climate(lighting, air, sun if lighting == "day" and not overcast else None)
    distance = rng.uniform(7, 16) + half
    return Setting(
        kind,
        name,
        camera,
        climate,
        overcast,
        half,
        lanes,
        rng.uniform(*kind.pavement),
        -place,
        rng.normal(0, 0.06),
        bend,
        distance if across else None,
    )
