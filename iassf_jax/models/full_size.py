"""From what a network draws at its working size to images of full size (ours).

The network sees whole images reduced to a working size and draws smooth maps there: transmission t and air light A of
the haze, and how the infrared image enters the fused one. All that is sharp comes from the full-size images. At full
size every operation is of one pixel and a few enlarged maps, so that memory and time grow with the pixels alone.
Images are in [0, 1] here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from iassf_jax.models.brightening import brighten, brightening, details, luma, wanted_luma
from iassf_jax.models.resampling import Positions, enlarge, positions
from iassf_jax.models.scattering import BOUND, Number, dehaze


class Maps(NamedTuple):
    """All that full-size images need of a network; small maps of one working size, float32.

    Attributes:
        transmission: [B, h, w, 3]: with the guides Y and R (lumas of the hazy and the infrared image, in 0..1) it is
            slope_Y * Y + slope_R * R + offset at each pixel.
        airlight: [B, h', w', 3], 0..1, R, G, B.
        gains: [B, h'', w'', 2]: of infrared excess and of infrared detail.
        base: [B, h, w, 6]: the hazy image without noise: slopes of R, G, B over Y, then offsets.
        smooth: [B, h, w], the infrared image without its details.
        mean: [B, 1, 1], of the infrared image.
    """

    transmission: jax.Array
    airlight: jax.Array
    gains: jax.Array
    base: jax.Array
    smooth: jax.Array
    mean: jax.Array


class Grid(NamedTuple):
    """Where the pixels of an image, or of a part of one, lie in each of the `Maps`: rows and columns."""

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


def base_at(maps: Maps, grid: Grid, visible: jax.Array) -> jax.Array:
    """The hazy image without noise, float32[B, H, W, 3]."""
    slopes, offsets = (
        jnp.stack([enlarge(maps.base[..., first + c], *grid.transmission) for c in range(3)], axis=-1)
        for first in (0, 3)
    )
    return slopes * luma(visible)[..., None] + offsets


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
    protected: bool = False,
) -> dict[str, jax.Array]:
    """Images of full size from the maps. (`fuse.maps` does the same in parts, protected.)

    Args:
        maps: as the network gives.
        visible: float32[B, H, W, 3] in [0, 1], hazy.
        infrared: float32[B, H, W] in [0, 1].
        bound, dehaze_strength: see `dehaze`.
        infrared_strength: see `wanted_luma`.
        protected: noise is not amplified as haze is taken off, see `base` of `dehaze`. Training is not: at the
            working size there are details where large images have noise.

    Returns:
        `dehazed`, `fused` float32[B, H, W, 3] in about [0, 1]; `transmission` [B, H, W]; `airlight` [B, H, W, 3].
    """
    at = grid(maps, *visible.shape[1:3])
    t, airlight = transmission_at(maps, at, visible, infrared), airlight_at(maps, at)
    base = base_at(maps, at, visible) if protected else None
    dehazed = dehaze(visible, t, airlight, bound, dehaze_strength, base)
    clipped = jnp.clip(dehazed, 0, 1)
    wanted = wanted_luma(clipped, infrared, *added_by_infrared(maps, at, infrared), infrared_strength)
    fused = brighten(clipped, *brightening(clipped, wanted, t))
    return {"dehazed": dehazed, "fused": fused, "transmission": t, "airlight": airlight}
