"""From what a network draws at its working size to images of full size, by the scattering model (ours).

The network sees whole images reduced to a working size and draws smooth maps there: transmission t and air light A of
the haze, and how the infrared image enters the fused one. All that is sharp comes from the full-size images:

    J = I + (1 / max(t, t0) - 1) (I - A)            the haze-free image (He et al., CVPR 2009, Eq. 16)
    F = J, brighter in its own colour where infrared shows more

At full size every operation is of one pixel and a few enlarged maps, so that memory and time grow with the pixels alone.
Images are in [0, 1] here.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.data.images import LUMA_601
from iassf_jax.models.haze_density import (
    atmospheric_light,
    box_mean,
    dark_channel,
    guided_filter,
    local_minimum,
)

Number = float | jax.Array

BOUND = 0.1
"""t0: less transmission than this is taken for this (He et al.): noise is never amplified by more than ten."""
GUIDE_RADIUS = 2
"""Of the guided filter, in pixels at working size."""
GUIDE_EPSILONS = (1e-4, 1e-3)
"""Of the hazy and of the infrared luma, squared units of 0..1: infrared cameras have noise in rows and columns, which
must not show in skies."""
DETAIL_RADIUS = 6
"""Of what counts as detail of the infrared image, in pixels at working size."""


class Maps(NamedTuple):
    """All that full-size images need of a network; small maps of one working size, float32.

    Attributes:
        transmission: [B, h, w, 3]: with the guides Y and R (lumas of the hazy and the infrared image, in 0..1) it is
            slope_Y * Y + slope_R * R + offset at each pixel.
        airlight: [B, h', w', 3], 0..1, R, G, B.
        gains: [B, h'', w'', 2]: of infrared excess and of infrared detail.
        smooth: [B, h, w], the infrared image without its details.
        mean: [B, 1, 1], of the infrared image.
    """

    transmission: jax.Array
    airlight: jax.Array
    gains: jax.Array
    smooth: jax.Array
    mean: jax.Array


def first_haze(visible: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Transmission and air light by the dark channel prior, where a network's corrections begin (Eq. 3-4).

    Windows are those of He et al. (15 pixels, filter radius 60, of images some 640 wide), in proportion.

    Args:
        visible: float32[B, h, w, 3] in [0, 1], hazy, at working size.

    Returns:
        t, float32[B, h, w] in [0.05, 0.98], and A, float32[B, 3] in [0.1, 1].
    """
    longest = max(visible.shape[1:3])
    window, radius = 2 * (longest * 15 // 1280) + 1, max(1, longest * 60 // 640)
    dark = dark_channel(visible, window)
    light = jnp.stack([atmospheric_light(visible[..., c], dark) for c in range(3)], axis=-1)
    light = jnp.maximum(light, 0.1)
    t = 1 - 0.95 * local_minimum((visible / light[:, None, None]).min(axis=-1), window)
    t = guided_filter(luma(visible), t, radius)
    return jnp.clip(t, 0.05, 0.98), light


def corrected_transmission(first: jax.Array, correction: jax.Array) -> jax.Array:
    """log t * exp(correction), of maps of one size: 0 leaves it, -6 makes clear air of any haze."""
    return jnp.exp(jnp.log(first) * jnp.exp(jnp.clip(correction, -8.0, 3.0)))


def local_linear(guides: tuple[jax.Array, jax.Array], x: jax.Array, radius: int = GUIDE_RADIUS) -> jax.Array:
    """What of x the guides explain, in each window: float32[B, h, w, 3], a slope for each guide and an offset.

    Least squares with the regularisation GUIDE_EPSILONS, averaged over the windows that a pixel lies in.

    Args:
        guides: two maps float32[B, h, w].
        x: float32[B, h, w].

    Source:
        He and Sun, "Fast guided filter", arXiv 1505.00996; He et al., ECCV 2010, Sec. 3.3, for two guides.
    """
    # Centred values: covariances are differences of products, and lose no digits to a common offset.
    centres = [g.mean(axis=(1, 2), keepdims=True) for g in guides]
    a, b = (g - centre for g, centre in zip(guides, centres, strict=True))
    ma, mb, mx, maa, mab, mbb, max_, mbx = _means([a, b, x, a * a, a * b, b * b, a * x, b * x], radius)
    squares = zip((maa, mbb), (ma, mb), GUIDE_EPSILONS, strict=True)
    va, vb = (jnp.maximum(square - m * m, 0) + epsilon for square, m, epsilon in squares)
    ab, ax, bx = mab - ma * mb, max_ - ma * mx, mbx - mb * mx
    # Rounding must not make guides more alike than alike.
    determinant = jnp.maximum(va * vb - ab * ab, math.prod(GUIDE_EPSILONS))
    slope_a, slope_b = (vb * ax - ab * bx) / determinant, (va * bx - ab * ax) / determinant
    slope_a, slope_b, offset = _means([slope_a, slope_b, mx - slope_a * ma - slope_b * mb], radius)
    return jnp.stack([slope_a, slope_b, offset - slope_a * centres[0] - slope_b * centres[1]], axis=-1)


def _means(maps: list[jax.Array], radius: int) -> list[jax.Array]:
    """`box_mean` of each map [B, h, w]."""
    return jnp.split(box_mean(jnp.concatenate(maps), radius, radius), len(maps))


def without_details(infrared: jax.Array) -> jax.Array:
    """The infrared image float32[B, h, w], smoothed."""
    return box_mean(box_mean(infrared, DETAIL_RADIUS, DETAIL_RADIUS), DETAIL_RADIUS // 2, DETAIL_RADIUS // 2)


class Positions(NamedTuple):
    """Where the pixels of a row or column lie in a small map: between the cells `low` and low + 1, `share` of the way.

    Attributes:
        low: int32[n].
        share: float32[n], 0..1.
    """

    low: jax.Array
    share: jax.Array


def positions(old: int, new: int) -> Positions:
    """Of `new` pixels over a map of `old` cells, half-pixel centres (NumPy arrays)."""
    place = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.minimum(place.astype(np.int32), max(old - 2, 0))
    return Positions(low, (place - low).astype(np.float32))


def enlarge(x: jax.Array, rows: Positions, columns: Positions) -> jax.Array:
    """Bilinear: a map float32[B, h, w] at given rows and columns, [B, H, W].

    By indices: as matrix products (`jax.image.resize`) a few maps took as long as the network.
    """
    for axis, at in zip((1, 2), (rows, columns), strict=True):
        share = at.share.reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        first, second = (jnp.take(x, at.low + i, axis=axis, mode="clip") for i in (0, 1))
        x = first + (second - first) * share
    return x


class Grid(NamedTuple):
    """Where the pixels of an image, or of a part of one, lie in each of the `Maps`: positions of rows and of columns."""

    transmission: tuple[Positions, Positions]
    airlight: tuple[Positions, Positions]
    gains: tuple[Positions, Positions]


def grid(maps: Maps, height: int, width: int) -> Grid:
    """Of a whole image."""
    small = (maps.transmission, maps.airlight, maps.gains)
    return Grid(*((positions(x.shape[1], height), positions(x.shape[2], width)) for x in small))


def transmission_at(maps: Maps, grid: Grid, visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """t at full size, float32[B, H, W] in 0..1, of images [B, H, W, 3] and [B, H, W] in 0..1."""
    slope_y, slope_r, offset = (enlarge(maps.transmission[..., i], *grid.transmission) for i in range(3))
    return jnp.clip(slope_y * luma(visible) + slope_r * infrared + offset, 0.0, 1.0)


def airlight_at(maps: Maps, grid: Grid) -> jax.Array:
    """A at full size, float32[B, H, W, 3]."""
    return jnp.stack([enlarge(maps.airlight[..., c], *grid.airlight) for c in range(3)], axis=-1)


def dehaze(
    visible: jax.Array, t: jax.Array, airlight: jax.Array, bound: Number = BOUND, strength: Number = 1.0
) -> jax.Array:
    """J of a hazy image I; unclipped.

    Args:
        visible: float32[B, H, W, 3].
        t: float32[B, H, W].
        airlight: float32[B, H, W, 3].
        bound: t0, 0 to 1: how much haze may be taken off at most.
        strength: 0 (leaves the image) to 1.
    """
    gain = strength * (1 / jnp.maximum(t, jnp.maximum(bound, 1e-3)) - 1)
    return visible + gain[..., None] * (visible - airlight)


def bounded_clear(clear: jax.Array, t: jax.Array, airlight: jax.Array, bound: float = BOUND) -> jax.Array:
    """What `dehaze` makes of an image when t and A are right: clear, with the haze that stays where t is below t0."""
    kept = jnp.minimum(t / bound, 1)[..., None]
    return clear * kept + airlight * (1 - kept)


def details(infrared: jax.Array, smooth: jax.Array, mean: jax.Array) -> jax.Array:
    """What the infrared image shows beside its smooth form; less of what is darker there and cold, as skies are.

    Args:
        infrared, smooth: float32[B, H, W].
        mean: float32[B, 1, 1], of the infrared image.
    """
    difference = infrared - smooth
    warmth = jnp.clip(infrared / jnp.maximum(mean, 1e-3), 0, 1)
    return jnp.maximum(difference, 0) + warmth * jnp.minimum(difference, 0)


def wanted_luma(
    dehazed: jax.Array, infrared: jax.Array, excess: jax.Array, detail: jax.Array, strength: Number = 1.0
) -> jax.Array:
    """The fused image's luma, V + (1 + g) max(R - V, 0) + detail, with the lumas V and R: float32[B, H, W].

    Args:
        dehazed: float32[B, H, W, 3].
        infrared: float32[B, H, W].
        excess: float32[B, H, W], g.
        detail: float32[B, H, W], what is added of `details`.
        strength: of all that infrared adds, 0 to 1.
    """
    y = luma(dehazed)
    return y + strength * ((1 + excess) * jnp.maximum(infrared - y, 0) + detail)


def brightening(image: jax.Array, wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Offset and factor, float32[B, H, W] each, that bring an image [B, H, W, 3] to a luma [B, H, W] in its own colour.

    Grey takes any luma. A colour grows with the luma (up to twice) as far as it stays in range; what is saturated
    gets less bright, so that a blue coat becomes a bright blue coat and not a white one.
    """
    y = luma(image)
    red, green, blue = (image[..., c] for c in range(3))
    highest, lowest = (f(f(red, green), blue) for f in (jnp.maximum, jnp.minimum))
    saturation = jnp.clip((highest - lowest) / (highest + 0.15), 0, 1)
    reach = y / jnp.maximum(highest, 1e-3)  # the luma of the brightest image of this colour
    wanted = wanted - 0.6 * saturation * jnp.maximum(wanted - reach, 0)
    growth = jnp.clip(wanted / jnp.maximum(y, 1e-2), 1.0, 2.0)
    room = jnp.minimum((1 - wanted) / jnp.maximum(highest - y, 1e-3), wanted / jnp.maximum(y - lowest, 1e-3))
    factor = jnp.where(wanted > y, jnp.minimum(growth, jnp.maximum(room, 0.0)), 1.0)
    return wanted - factor * y, factor


def brighten(image: jax.Array, offset: jax.Array, factor: jax.Array) -> jax.Array:
    """offset + factor * image, unclipped: [B, H, W, 3]."""
    return offset[..., None] + factor[..., None] * image


def added_by_infrared(maps: Maps, grid: Grid, infrared: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gain of infrared excess and the details that are added, float32[B, H, W] each; see `wanted_luma`."""
    excess, share = (enlarge(maps.gains[..., i], *grid.gains) for i in range(2))
    return excess, share * details(infrared, enlarge(maps.smooth, *grid.transmission), maps.mean)


def full_size(
    maps: Maps,
    visible: jax.Array,
    infrared: jax.Array,
    bound: Number = BOUND,
    dehaze_strength: Number = 1.0,
    infrared_strength: Number = 1.0,
) -> dict[str, jax.Array]:
    """Images of full size from the maps. (`fuse.full_size` does the same in parts.)

    Args:
        maps: as the network gives.
        visible: float32[B, H, W, 3] in [0, 1], hazy.
        infrared: float32[B, H, W] in [0, 1].
        bound, dehaze_strength: see `dehaze`.
        infrared_strength: see `wanted_luma`.

    Returns:
        `dehazed`, `fused` float32[B, H, W, 3] in about [0, 1]; `transmission` [B, H, W]; `airlight` [B, H, W, 3].
    """
    at = grid(maps, *visible.shape[1:3])
    t, airlight = transmission_at(maps, at, visible, infrared), airlight_at(maps, at)
    dehazed = dehaze(visible, t, airlight, bound, dehaze_strength)
    clipped = jnp.clip(dehazed, 0, 1)
    wanted = wanted_luma(clipped, infrared, *added_by_infrared(maps, at, infrared), infrared_strength)
    fused = brighten(clipped, *brightening(clipped, wanted))
    return {"dehazed": dehazed, "fused": fused, "transmission": t, "airlight": airlight}


def luma(image: jax.Array) -> jax.Array:
    """BT.601 luma: float[B, H, W, 3] -> float[B, H, W]."""
    return sum(weight * image[..., c] for c, weight in enumerate(LUMA_601.tolist()))


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """[B, h, w, factor ** 2 * C] -> [B, factor * h, factor * w, C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, -1)


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """[B, factor * h, factor * w, C] -> [B, h, w, factor ** 2 * C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, -1)
