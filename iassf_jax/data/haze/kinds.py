"""The kinds of haze, their parameters, and how these are drawn.

u = J t + A (1 - t), with the clear image J and the air light A in 0..1 and the transmission t by kind:

- `outdoor`: haze as photographs show it (`outdoor.py`): air light of the scene's own sky, skies farther than
  everything, steps of depth, banks of fog, noise of the camera. Depth is the scene's where there is a map.
- `dense`: the same, where fog levels off at some transmission, in bright air.
- `depth_like`, `depth_like_night`: t = exp(-beta depth) with a made-up depth of 0..1 that follows the image's edges,
  and a coloured air light that varies slowly; at night it is dark, and glows around lamps (`depth_like.py`).
- `homogeneous`: t is the same everywhere.
- `depth`: t = exp(-beta depth), from a depth map in metres.
- `none`: t = 1.
- `msrs_release`: t = exp(-beta d), d = sqrt(max(H, W)) (1 + q sin(2 pi (x + y) / (H + W))). This is how the authors of
  IASSF made their published hazy images: "depth" is a fixed diagonal wave that follows no scene, A has no colour, and u
  is written as if it were in [-1, 1], I = floor(255 (0.5 + 0.5 u)), so even beta = 0 halves the contrast.

All but the last write u itself, rounded to nearest. A network trained on `msrs_release` alone has seen neither haze
that follows depth nor coloured air light: train and test with other kinds too.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iassf_jax.data.haze.depth_like import make_layers
from iassf_jax.data.haze.outdoor import Air, make_air
from iassf_jax.data.images import Array
from iassf_jax.errors import UserError

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class HazeParams:
    """What made one hazy image; plain numbers, so that `dataclasses.asdict` can be written as JSON.

    Attributes:
        kind: a name from `HAZE_KINDS`.
        airlight: A of R, G and B, 0..1.
        beta: strength of the haze, >= 0. `depth`: extinction in 1/m, visibility = 3.912 / beta metres (Koschmieder,
            2 % contrast). `depth_like`: t of the sky is exp(-beta). `outdoor`, `dense`: t of the farthest things before
            the sky is about exp(-beta). `homogeneous`: t = exp(-beta). `msrs_release`: see the head of this file.
        ripple: q of `msrs_release`, 0..1.
        half_range: write 0.5 + 0.5 u rounded down, as the release does, instead of u rounded to nearest.
        seed: of what else a kind makes up, >= 0.
        floor: what transmission levels off at, 0..1 (`dense`).
        noise: standard deviation of the camera's noise at middle brightness, of 0..1 (`outdoor`, `dense`).
    """

    kind: str
    airlight: tuple[float, float, float]
    beta: float
    ripple: float = 0.0
    half_range: bool = False
    seed: int = 0
    floor: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        named(self.kind)
        # Outside these, 8-bit results would wrap around.
        good = len(self.airlight) == 3 and all(0 <= a <= 1 for a in self.airlight)
        unit = (self.ripple, self.floor, self.noise)
        if not (good and 0 <= self.beta < math.inf and all(0 <= x <= 1 for x in unit)):
            raise UserError(
                f"{self}: needs three airlight values in 0..1, beta >= 0, and ripple, floor and noise in 0..1"
            )
        if not isinstance(self.seed, int) or self.seed < 0:
            raise UserError(f"{self}: needs a seed that is a whole number, 0 or more")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HazeParams":
        """The inverse of `dataclasses.asdict`, also by way of JSON; raises UserError if a value is missing or wrong."""
        try:
            return cls(**{**values, "airlight": tuple(values["airlight"])})
        except (KeyError, TypeError) as error:
            raise UserError(f"haze parameters {values!r} cannot be used ({error}): write them again") from None


@dataclass(frozen=True)
class View:
    """The part of a full image that is hazed. A pixel's transmission may not depend on the view it is seen in."""

    top: int
    left: int
    height: int
    width: int
    full_height: int
    full_width: int
    depth: Array | None  # metres, or relative where it is made up, [height, width]
    airlight: Array | None = None  # [height, width, 3], where it is not the same everywhere


@dataclass(frozen=True)
class HazeKind:
    """One kind of haze.

    Attributes:
        ranges: what is drawn uniformly for each image, in this order: name -> (low, high).
        make: drawn values by name -> parameters.
        transmission: parameters, view -> t, float64 `[height, width]` or broadcastable to it; None with `air`.
        needs_depth: whether it needs a depth map.
        layers: parameters, full clear image -> its made-up depth `[H, W]` and air light `[H, W, 3]`.
        air: parameters, full clear image, its depth map or None -> all that stands before the scene.
    """

    ranges: Ranges
    make: Callable[[Mapping[str, float]], HazeParams]
    transmission: Callable[[HazeParams, View], Array] | None
    needs_depth: bool = False
    layers: Callable[[HazeParams, Array], tuple[Array, Array]] | None = None
    air: Callable[[HazeParams, Array, Array | None], Air] | None = None


def _tinted(values: Mapping[str, float]) -> tuple[float, float, float]:
    grey, tint = values["airlight"], values["tint"]
    return tuple(min(max(grey + sign * tint, 0.0), 1.0) for sign in (1, 0, -1))  # warm if positive, else bluish


def _constant(params: HazeParams, view: View) -> Array:
    return np.full((1, 1), math.exp(-params.beta))


def _from_depth(params: HazeParams, view: View) -> Array:
    return np.exp(-params.beta * np.ascontiguousarray(view.depth, np.float64))


def _diagonal_wave(params: HazeParams, view: View) -> Array:
    # A function of x + y alone: one table for the full image, and each row of the view is a piece of it.
    total = view.full_height + view.full_width
    wave = np.sin(2 * np.pi * np.arange(total - 1) / total)
    d = math.sqrt(max(view.full_height, view.full_width)) * (1 + params.ripple * wave)
    rows = np.lib.stride_tricks.sliding_window_view(np.exp(-params.beta * d), view.width)
    return rows[view.top + view.left :][: view.height]


def _air(params: HazeParams, clear: Array, depth: Array | None) -> Air:
    return make_air(clear, params.airlight, params.beta, params.floor, params.seed, depth)


def _outdoor(kind: str, values: Mapping[str, float]) -> HazeParams:
    made = HazeParams(kind, _tinted(values), values["beta"], noise=values["noise"])
    return replace(made, floor=values.get("floor", 0.0))


# How far each range may reach; "t" above 0 since beta = -log(t).
_LIMITS = {
    "airlight": (0, 1),
    "beta": (0, 1e6),
    "floor": (0, 1),
    "noise": (0, 1),
    "ripple": (0, 1),
    "t": (1e-6, 1),
    "tint": (-1, 1),
}
_PLAIN_AIRLIGHT = {"airlight": (0.6, 1.0), "tint": (-0.03, 0.03)}

HAZE_KINDS: Mapping[str, HazeKind] = {
    "outdoor": HazeKind(  # from hardly any haze to skylines that vanish
        {"airlight": (0.55, 1.0), "tint": (-0.05, 0.05), "beta": (0.15, 4.0), "noise": (0.0, 0.01)},
        lambda v: _outdoor("outdoor", v),
        None,
        air=_air,
    ),
    "dense": HazeKind(
        {
            "airlight": (0.8, 1.0),
            "tint": (-0.02, 0.02),
            "beta": (1.5, 6.0),
            "noise": (0.0, 0.008),
            "floor": (0.05, 0.2),
        },
        lambda v: _outdoor("dense", v),
        None,
        air=_air,
    ),
    "msrs_release": HazeKind(  # the ranges that the released images show
        {"airlight": (0.3, 0.6), "beta": (0.0, 0.05), "ripple": (0.4, 0.6)},
        lambda v: HazeParams("msrs_release", (v["airlight"],) * 3, v["beta"], v["ripple"], half_range=True),
        _diagonal_wave,
    ),
    "homogeneous": HazeKind(
        {**_PLAIN_AIRLIGHT, "t": (0.3, 0.9)},
        lambda v: HazeParams("homogeneous", _tinted(v), max(-math.log(v["t"]), 0.0)),
        _constant,
    ),
    "depth": HazeKind(
        {**_PLAIN_AIRLIGHT, "beta": (0.005, 0.05)},  # visibility 780 m down to 78 m
        lambda v: HazeParams("depth", _tinted(v), v["beta"]),
        _from_depth,
        needs_depth=True,
    ),
    "none": HazeKind({}, lambda v: HazeParams("none", (1.0, 1.0, 1.0), 0.0), _constant),
    "depth_like": HazeKind(  # from hardly any haze to a sky of t = 0.03
        {"airlight": (0.55, 1.0), "tint": (-0.06, 0.06), "beta": (0.2, 3.5)},
        lambda v: HazeParams("depth_like", _tinted(v), v["beta"]),
        _from_depth,
        layers=lambda params, clear: make_layers(clear, params.airlight, params.seed, night=False),
    ),
    "depth_like_night": HazeKind(  # sodium lamps to moonlight
        {"airlight": (0.15, 0.5), "tint": (-0.06, 0.1), "beta": (0.2, 3.0)},
        lambda v: HazeParams("depth_like_night", _tinted(v), v["beta"]),
        _from_depth,
        layers=lambda params, clear: make_layers(clear, params.airlight, params.seed, night=True),
    ),
}


def named(name: str) -> HazeKind:
    """The kind of a name; UserError if there is none."""
    if name not in HAZE_KINDS:
        raise UserError(f"unknown haze kind '{name}': use one of {', '.join(HAZE_KINDS)}")
    return HAZE_KINDS[name]


def merged_ranges(kind: str, ranges: Ranges | None) -> Ranges:
    """The default ranges of a kind with `ranges` in their place; a UserError for what `draw_haze` would refuse."""
    merged = {**named(kind).ranges, **(ranges or {})}
    for name, pair in merged.items():
        if name not in HAZE_KINDS[kind].ranges:
            known = ", ".join(HAZE_KINDS[kind].ranges) or "none at all"
            raise UserError(f"haze kind '{kind}' has no range '{name}': it has {known}")
        lowest, highest = _LIMITS[name]
        try:
            fits = len(pair) == 2 and lowest <= pair[0] <= pair[1] <= highest
        except TypeError:  # no pair, or none of numbers
            fits = False
        if not fits:
            raise UserError(f"haze range {name} = {pair}: give (low, high) between {lowest:g} and {highest:g}")
    return merged


def draw_haze(kind: str, rng: np.random.Generator, ranges: Ranges | None = None) -> HazeParams:
    """Draws the haze of one image.

    Args:
        kind: a name from `HAZE_KINDS`.
        rng: where the numbers come from: one uniform number for each range of the kind, in their order, then the seed
            where the kind makes something up.
        ranges: replaces default ranges by name -> (low, high). `airlight` (0..1), `tint` (added to R, taken from B),
            `beta` (>= 0; 1/m for `depth`), `ripple` (0..1), `t` (transmission, 0..1), as far as the kind has them.

    Returns:
        The parameters.

    Raises:
        UserError: an unknown kind or range name, or a range outside its limits.
    """
    merged = merged_ranges(kind, ranges)
    params = HAZE_KINDS[kind].make({name: float(rng.uniform(low, high)) for name, (low, high) in merged.items()})
    return replace(params, seed=int(rng.integers(2**31))) if HAZE_KINDS[kind].layers or HAZE_KINDS[kind].air else params
