"""Putting haze on images: the atmospheric scattering model, and what it is made of for each kind."""

from typing import NamedTuple

import numpy as np

from iassf_jax.data.haze.kinds import HAZE_KINDS, HazeParams, View
from iassf_jax.data.haze.outdoor import Air, blurred
from iassf_jax.data.images import Array
from iassf_jax.errors import UserError

Window = tuple[int, int, int, int]


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
        depth: float metres `[height, width]`, for kinds that need it or follow it where there is one.
        guide: the clear image, for kinds that follow it.

    Returns:
        float64 `[height, width]`, 0..1 (1: no haze).

    Raises:
        UserError: the depth map or the guide is missing or of another size.
    """
    if HAZE_KINDS[params.kind].air:
        return _air_of(params, (height, width), depth, guide).transmission.astype(np.float64)
    t = HAZE_KINDS[params.kind].transmission(params, _view(height, width, params, depth, None, guide))
    return np.broadcast_to(t, (height, width)).copy()


def _air_of(params: HazeParams, size: tuple[int, int], depth: Array | None, guide: Array | None) -> Air:
    if guide is None:
        raise UserError(f"haze kind '{params.kind}' follows the full clear image: give that as guide")
    if checked_shape(guide) != size:
        raise UserError(f"guide of shape {guide.shape} for an image of {size}: correct one")
    if depth is not None and depth.shape != size:
        raise UserError(f"depth map of shape {depth.shape} for an image of {size}: make the sizes equal")
    return HAZE_KINDS[params.kind].air(params, guide, depth)


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
        depth: float metres `[h, w]` (cropped like `clear`), for kinds that need it; `outdoor` and `dense` follow one of
            the full size, if there is one.
        window: `(y0, x0, full_height, full_width)` if `clear` is the part of a larger image that begins there.
        guide: that larger clear image, which the kinds with made-up depth follow; without a window, `clear` is its own.

    Returns:
        The hazy image, of the type and shape of `clear`.

    Raises:
        UserError: wrong type, shape or window; the depth map or the guide is missing or of another size.

    Source:
        I = J t + A (1 - t), the paper's scattering model; for `msrs_release` see `kinds.py`.
    """
    height, width = checked_shape(clear)
    if HAZE_KINDS[params.kind].air:
        full = clear if window is None else guide
        top, left, *size = (0, 0, height, width) if window is None else window
        hazy = _through_air(full, params, _air_of(params, tuple(size), depth, full))
        return hazy[top : top + height, left : left + width]
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


def _through_air(clear: Array, params: HazeParams, air: Air) -> Array:
    maximum = np.float32(np.iinfo(clear.dtype).max)
    t = air.transmission[..., None]
    u = blurred(clear.astype(np.float32) / maximum, air) * t + air.light * (1 - t)
    if params.noise:
        # Variance grows with the light, as photons' does: of `noise` squared where u is one half.
        grain = np.random.default_rng([params.seed, 1]).standard_normal(u.shape, np.float32)
        u += np.float32(params.noise) * np.sqrt(0.2 + 1.6 * u) * grain
    return np.rint(np.clip(u, 0, 1) * maximum).astype(clear.dtype)


class Hazed(NamedTuple):
    """A hazy image, and what makes it one: hazy = clear * transmission + airlight * (1 - transmission), but for blur,
    noise and rounding.

    Attributes:
        hazy: of the type and shape of the clear image.
        transmission: float32 `[H, W]`, 0..1.
        airlight: float32 `[H, W, 3]`, 0..1.
    """

    hazy: Array
    transmission: Array
    airlight: Array


def haze_image(clear: Array, params: HazeParams, depth: Array | None = None) -> Hazed:
    """Puts haze on a whole clear image as `apply_haze` does, and gives its transmission and air light as well.

    The half contrast of `msrs_release` is haze too: half the transmission, and air light to match.

    Args:
        clear: uint8 or uint16 `[H, W, 3]`.
        params: the haze.
        depth: float metres `[H, W]`, for kinds that need it or follow it.

    Raises:
        UserError: wrong type or shape; the depth map is missing or of another size.
    """
    size = checked_shape(clear)
    if HAZE_KINDS[params.kind].air:
        air = _air_of(params, size, depth, clear)
        return Hazed(_through_air(clear, params, air), air.transmission, air.light)
    view = _view(*size, params, depth, None, clear)
    t = np.broadcast_to(HAZE_KINDS[params.kind].transmission(params, view), size).astype(np.float32)
    airlight = view.airlight
    if airlight is None:
        airlight = np.broadcast_to(np.asarray(params.airlight, np.float32), (*size, 3))
    if params.half_range:
        light = 0.5 + 0.5 * airlight * (1 - t)[..., None]
        t = t / 2
        airlight = light / (1 - t)[..., None]
    return Hazed(apply_haze(clear, params, depth), t, np.clip(airlight, 0, 1))
