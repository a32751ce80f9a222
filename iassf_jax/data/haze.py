"""Synthesise haze with the atmospheric scattering model.

u = J t + A (1 - t), with the clear image J and the air light A in 0..1 and the transmission t by kind:

- `msrs_release`: t = exp(-beta d), d = sqrt(max(H, W)) (1 + q sin(2 pi (x + y) / (H + W))). This is how the authors of
  IASSF made their published hazy images: "depth" is a fixed diagonal wave that follows no scene, A has no colour, and u
  is written as if it were in [-1, 1], I = floor(255 (0.5 + 0.5 u)), so even beta = 0 halves the contrast.
- `homogeneous`: t is the same everywhere.
- `depth`: t = exp(-beta depth), from a depth map in metres.
- `none`: t = 1.
- `depth_like`, `depth_like_night`: t = exp(-beta depth) with a depth of 0..1 that is made up for each image and follows
  its edges, and a coloured air light that varies slowly; at night it is dark, and glows around lamps (`depth_like.py`).
  They depend on the full clear image: who hazes a part of one passes the full one as `guide`.

All but the first write u itself, rounded to nearest. A network trained on `msrs_release` alone has seen neither haze
that follows depth nor coloured air light: train and test with other kinds too.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iassf_jax.data import images
from iassf_jax.data.depth_like import make_layers
from iassf_jax.data.images import Array, PathLike
from iassf_jax.errors import UserError

# Depth that is unknown or infinite, in metres: far enough for t = 0 in any visible haze, and harmless at beta = 0.
FAR_METRES = 10_000.0
DEPTH_MEANINGS = ("depth", "disparity")

Ranges = Mapping[str, tuple[float, float]]
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class HazeParams:
    """What made one hazy image; plain numbers, so that `dataclasses.asdict` can be written as JSON.

    Attributes:
        kind: a name from `HAZE_KINDS`.
        airlight: A of R, G and B, 0..1.
        beta: strength of the haze, >= 0. `depth`: extinction in 1/m, visibility = 3.912 / beta metres (Koschmieder,
            2 % contrast). `depth_like`: t of the sky is exp(-beta). `homogeneous`: t = exp(-beta). `msrs_release`: see
            the head of this file.
        ripple: q of `msrs_release`, 0..1.
        half_range: write 0.5 + 0.5 u rounded down, as the release does, instead of u rounded to nearest.
        seed: of what else a kind makes up (`depth_like`), >= 0.
    """

    kind: str
    airlight: tuple[float, float, float]
    beta: float
    ripple: float = 0.0
    half_range: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _kind(self.kind)
        # Outside these, 8-bit results would wrap around.
        good = len(self.airlight) == 3 and all(0 <= a <= 1 for a in self.airlight)
        if not (good and 0 <= self.beta < math.inf and 0 <= self.ripple <= 1):
            raise UserError(f"{self}: needs three airlight values in 0..1, beta >= 0 and ripple in 0..1")
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
        transmission: parameters, view -> t, float64 `[height, width]` or broadcastable to it.
        needs_depth: whether it needs a depth map.
        layers: parameters, full clear image -> its made-up depth `[H, W]` and air light `[H, W, 3]`.
    """

    ranges: Ranges
    make: Callable[[Mapping[str, float]], HazeParams]
    transmission: Callable[[HazeParams, View], Array]
    needs_depth: bool = False
    layers: Callable[[HazeParams, Array], tuple[Array, Array]] | None = None


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


# How far each range may reach; "t" above 0 since beta = -log(t).
_LIMITS = {"airlight": (0, 1), "beta": (0, 1e6), "ripple": (0, 1), "t": (1e-6, 1), "tint": (-1, 1)}
_PLAIN_AIRLIGHT = {"airlight": (0.6, 1.0), "tint": (-0.03, 0.03)}

HAZE_KINDS: Mapping[str, HazeKind] = {
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


def _kind(name: str) -> HazeKind:
    if name not in HAZE_KINDS:
        raise UserError(f"unknown haze kind '{name}': use one of {', '.join(HAZE_KINDS)}")
    return HAZE_KINDS[name]


def merged_ranges(kind: str, ranges: Ranges | None) -> Ranges:
    """The default ranges of a kind with `ranges` in their place; a UserError for what `draw_haze` would refuse."""
    merged = {**_kind(kind).ranges, **(ranges or {})}
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
    return replace(params, seed=int(rng.integers(2**31))) if HAZE_KINDS[kind].layers else params


def checked_shape(clear: Array) -> tuple[int, int]:
    """Height and width of an image that can be hazed; a UserError if it is none."""
    if clear.dtype not in (np.uint8, np.uint16) or clear.ndim != 3 or clear.shape[2] != 3 or clear.size == 0:
        raise UserError(f"haze needs uint8 or uint16 images [H, W, 3], not {clear.dtype} {clear.shape}: convert it")
    return clear.shape[0], clear.shape[1]


def _view(
    height: int, width: int, params: HazeParams, depth: Array | None, window: Window | None, guide: Array | None
) -> View:
    top, left, full_height, full_width = (0, 0, height, width) if window is None else window
    if min(top, left) < 0 or top + height > full_height or left + width > full_width:
        raise UserError(f"a part of {width} x {height} is not in the window {window}: give (y0, x0, full H, full W)")
    if depth is None and HAZE_KINDS[params.kind].needs_depth:
        raise UserError(f"haze kind '{params.kind}' needs a depth map for every image: give one, or use another kind")
    if depth is not None and depth.shape != (height, width):
        raise UserError(f"depth map of shape {depth.shape} for an image of {(height, width)}: make the sizes equal")
    airlight = None
    if make := HAZE_KINDS[params.kind].layers:
        if guide is None:
            raise UserError(f"haze kind '{params.kind}' follows the full clear image: give that as guide")
        if checked_shape(guide) != (full_height, full_width):
            raise UserError(f"guide of shape {guide.shape} for an image of {(full_height, full_width)}: correct one")
        depth, airlight = (x[top : top + height, left : left + width] for x in make(params, guide))
    return View(top, left, height, width, full_height, full_width, depth, airlight)


def transmission(
    params: HazeParams, height: int, width: int, depth: Array | None = None, guide: Array | None = None
) -> Array:
    """The transmission of a full image.

    Args:
        params: the haze.
        height: of the image, in pixels.
        width: of the image, in pixels.
        depth: float metres `[height, width]`, for kinds that need it.
        guide: the clear image, for kinds that follow it.

    Returns:
        float64 `[height, width]`, 0..1 (1: no haze).

    Raises:
        UserError: the depth map or the guide is missing or of another size.
    """
    t = HAZE_KINDS[params.kind].transmission(params, _view(height, width, params, depth, None, guide))
    return np.broadcast_to(t, (height, width)).copy()


def apply_haze(
    clear: Array,
    params: HazeParams,
    depth: Array | None = None,
    window: Window | None = None,
    guide: Array | None = None,
) -> Array:
    """Puts haze on a clear image, or on a part of one: cropping before or after gives the same bits.

    Args:
        clear: uint8 or uint16 `[h, w, 3]`.
        params: the haze.
        depth: float metres `[h, w]` (cropped like `clear`), for kinds that need it.
        window: `(y0, x0, full_height, full_width)` if `clear` is the part of a larger image that begins there.
        guide: that larger clear image, which the kinds `depth_like` and `depth_like_night` follow; without a window,
            `clear` is its own.

    Returns:
        The hazy image, of the type and shape of `clear`.

    Raises:
        UserError: wrong type, shape or window; the depth map or the guide is missing or of another size.

    Source:
        I = J t + A (1 - t), the paper's scattering model; for `msrs_release` see the head of this file.
    """
    height, width = checked_shape(clear)
    view = _view(height, width, params, depth, window, clear if guide is None and window is None else guide)
    # float64 reproduces the released images bit for bit; float32 is faster where there is nothing to reproduce.
    real = np.float64 if params.half_range else np.float32
    t = HAZE_KINDS[params.kind].transmission(params, view).astype(real)
    # Rows of R, G, B, R, G, B, ...: numpy is several times slower when its innermost axis has length 3.
    t = np.repeat(np.broadcast_to(t, (t.shape[0], width)), 3, axis=1)
    airlight = np.asarray(params.airlight, real)
    airlight = np.tile(airlight, width) if view.airlight is None else view.airlight.reshape(height, 3 * width)
    maximum = real(np.iinfo(clear.dtype).max)
    u = clear.reshape(height, 3 * width).astype(real)
    u /= maximum
    u *= t
    np.subtract(1, t, out=t)  # in place from here on: new arrays of this size cost more than the arithmetic
    t *= airlight
    u += t
    if params.half_range:
        u *= real(0.5)
        u += real(0.5)
    u *= maximum
    np.floor(u, out=u) if params.half_range else np.rint(u, out=u)
    return u.astype(clear.dtype).reshape(clear.shape)


def check_depth_settings(meaning: str | None, scale: float | None) -> None:
    """Raises a UserError for what `load_depth` would refuse whatever the file."""
    if meaning not in DEPTH_MEANINGS:
        raise UserError(f"depth meaning is {meaning}: say which of {' and '.join(DEPTH_MEANINGS)} the maps hold")
    if scale is None or not 0 < scale < math.inf:
        raise UserError(f"depth scale is {scale}: give metres per unit (depth) or metres times value (disparity), > 0")


def load_depth(path: PathLike, meaning: str, scale: float) -> Array:
    """Reads a depth map.

    Args:
        path: a grey 8-bit or 16-bit image, or a .npy array `[H, W]`.
        meaning: `depth`: metres = value * scale; `disparity` (large is near): metres = scale / value. Networks for
            single images mostly give disparity, sensors and renderers mostly depth: the two are often confused.
        scale: > 0, as above.

    Returns:
        float32 metres `[H, W]`, at most `FAR_METRES`; values that are 0, negative or not finite become `FAR_METRES`.

    Raises:
        UserError: unreadable, not one channel, an unknown meaning, or a scale that is not positive.
    """
    check_depth_settings(meaning, scale)
    values = images.open_npy(path) if str(path).lower().endswith(".npy") else images.read_image(path)
    return metres_of(path, values, meaning, scale)


def metres_of(path: PathLike, values: Array, meaning: str, scale: float) -> Array:
    """`load_depth` of a map's values `[H, W]` or `[H, W, 3]`; `path` names it in errors."""
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise UserError(f"{path}: is a coloured picture of depth, not depth: export the values as one grey channel")
        values = values[..., 0]
    values = values.astype(np.float64)
    known = np.isfinite(values) & (values > 0)
    safe = np.where(known, values, 1)
    with np.errstate(over="ignore"):
        metres = safe * scale if meaning == "depth" else scale / safe
    return np.where(known, np.minimum(metres, FAR_METRES), FAR_METRES).astype(np.float32)
