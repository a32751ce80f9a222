"""From what a network draws at its working size to images of full size, by the scattering model (ours).

The network sees whole images reduced to a working size and draws smooth maps there: transmission t and air light A of
the haze, and how the infrared image enters the fused one. All that is sharp comes from the full-size images:

    J = I + (1 / max(t, t0) - 1) (I - A)            the haze-free image (He et al., CVPR 2009, Eq. 16)
    F = J, brighter in its own colour where infrared shows more

At full size every operation is of one pixel and a few enlarged maps, so that memory and time grow with the pixels alone.
Images are in [0, 1] here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from iassf_jax.models.haze_density import (
    atmospheric_light,
    box_mean,
    dark_channel,
    guided_filter,
    local_minimum,
)
from iassf_jax.models.layers import luma, resize_bilinear

BOUND = 0.1
"""t0: less transmission than this is taken for this (He et al.): noise is never amplified by more than ten."""
GUIDE_RADIUS = 2
"""Of the guided filter, in pixels at working size."""
GUIDE_EPSILON = 1e-4
DETAIL_RADIUS = 6
"""Of what counts as detail of the infrared image, in pixels at working size."""


class Maps(NamedTuple):
    """All that full-size images need of a network; small maps of one working size, float32.

    Attributes:
        transmission: [B, h, w, 3]: with the guides Y and R (lumas of the hazy and the infrared image, in 0..1) it is
            slope_Y * Y + slope_R * R + offset at each pixel.
        airlight: [B, h', w', 3], 0..1, R, G, B.
        gains: [B, h'', w'', 2]: of infrared excess and of infrared detail.
        smooth: [B, h, w, 1], the infrared image without its details.
        mean: [B, 1, 1, 1], of the infrared image.
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
    t = guided_filter(luma(visible)[..., 0], t, radius)
    return jnp.clip(t, 0.05, 0.98), light


def corrected_transmission(first: jax.Array, correction: jax.Array) -> jax.Array:
    """log t * exp(correction), of t [B, h, w, 1] and a map of its size: 0 leaves it, -6 makes clear air of any haze."""
    return jnp.exp(jnp.log(first) * jnp.exp(jnp.clip(correction, -8.0, 3.0)))


def guides(visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """Lumas of both images: float32[B, H, W, 2]."""
    return jnp.concatenate([luma(visible), infrared], axis=-1)


def local_linear(guides: jax.Array, x: jax.Array, radius: int = GUIDE_RADIUS) -> jax.Array:
    """What of x the guides explain, in each window: float32[B, h, w, 2 + 1], a slope for each guide and an offset.

    Least squares with the regularisation GUIDE_EPSILON, averaged over the windows that a pixel lies in.

    Args:
        guides: float32[B, h, w, 2].
        x: float32[B, h, w, 1].

    Source:
        He and Sun, "Fast guided filter", arXiv 1505.00996; He et al., ECCV 2010, Sec. 3.3, for two guides.
    """
    # Centred values: covariances are differences of products, and lose no digits to a common offset.
    centre = guides.mean(axis=(1, 2), keepdims=True)
    g = guides - centre
    first, second = jnp.split(g, 2, axis=-1)
    terms = [g, x, first * first, first * second, second * second, first * x, second * x]
    mean = _box_mean(jnp.concatenate(terms, axis=-1), radius)
    m1, m2, mx, m11, m12, m22, m1x, m2x = jnp.split(mean, 8, axis=-1)
    v1, v2 = (jnp.maximum(mm - m * m, 0) + GUIDE_EPSILON for mm, m in ((m11, m1), (m22, m2)))
    both = m12 - m1 * m2
    c1, c2 = m1x - m1 * mx, m2x - m2 * mx
    # Rounding must not make guides more alike than alike.
    determinant = jnp.maximum(v1 * v2 - both * both, GUIDE_EPSILON**2)
    slopes = jnp.concatenate([v2 * c1 - both * c2, v1 * c2 - both * c1], axis=-1) / determinant
    offset = mx - (slopes * jnp.concatenate([m1, m2], axis=-1)).sum(axis=-1, keepdims=True)
    slopes, offset = jnp.split(_box_mean(jnp.concatenate([slopes, offset], axis=-1), radius), (2,), axis=-1)
    return jnp.concatenate([slopes, offset - (slopes * centre).sum(axis=-1, keepdims=True)], axis=-1)


def _box_mean(x: jax.Array, radius: int) -> jax.Array:
    """Of each channel: [B, h, w, C]."""
    planes = jnp.moveaxis(x, -1, 1)
    found = box_mean(planes.reshape(-1, *planes.shape[2:]), radius, radius)
    return jnp.moveaxis(found.reshape(planes.shape), 1, -1)


def without_details(infrared: jax.Array) -> jax.Array:
    """The infrared image float32[B, h, w, 1], smoothed."""
    return _box_mean(_box_mean(infrared, DETAIL_RADIUS), DETAIL_RADIUS // 2)


def transmission_at(maps: Maps, visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """t at full size, float32[B, H, W, 1] in 0..1, of images [B, H, W, 3] and [B, H, W, 1]."""
    linear = resize_bilinear(maps.transmission, visible.shape[1:3])
    terms = jnp.concatenate([guides(visible, infrared), jnp.ones_like(infrared)], axis=-1)
    return jnp.clip((linear * terms).sum(axis=-1, keepdims=True), 0.0, 1.0)


def dehaze(
    visible: jax.Array, t: jax.Array, airlight: jax.Array, bound: float | jax.Array = BOUND, strength: float | jax.Array = 1.0
) -> jax.Array:
    """J of a hazy image I; unclipped.

    Args:
        visible: float32[B, H, W, 3].
        t: float32[B, H, W, 1].
        airlight: float32[B, H, W, 3].
        bound: t0, 0 to 1: how much haze may be taken off at most.
        strength: 0 (leaves the image) to 1.
    """
    gain = 1 / jnp.maximum(t, jnp.maximum(bound, 1e-3)) - 1
    return visible + strength * gain * (visible - airlight)


def bounded_clear(clear: jax.Array, t: jax.Array, airlight: jax.Array, bound: float = BOUND) -> jax.Array:
    """What `dehaze` makes of an image when t and A are right: clear, with the haze that stays where t is below t0."""
    kept = jnp.minimum(t / bound, 1)
    return clear * kept + airlight * (1 - kept)


def brightened(image: jax.Array, wanted: jax.Array) -> jax.Array:
    """An image brought to a luma, in its own colour.

    Grey takes any luma. A colour grows with the luma (up to four times) as far as it stays in range; what is saturated
    gets less bright, so that a blue coat becomes a bright blue coat and not a white one.

    Args:
        image: float32[B, H, W, 3].
        wanted: float32[B, H, W, 1], the luma.

    Returns:
        float32[B, H, W, 3].
    """
    y = luma(image)
    highest, lowest = image.max(axis=-1, keepdims=True), image.min(axis=-1, keepdims=True)
    saturation = jnp.clip((highest - lowest) / (highest + 0.15), 0, 1)
    reach = y / jnp.maximum(highest, 1e-3)  # the luma of the brightest image of this colour
    wanted = wanted - 0.6 * saturation * jnp.maximum(wanted - reach, 0)
    growth = jnp.clip(wanted / jnp.maximum(y, 1e-2), 1.0, 4.0)
    room = jnp.minimum((1 - wanted) / jnp.maximum(highest - y, 1e-3), wanted / jnp.maximum(y - lowest, 1e-3))
    return wanted + (image - y) * jnp.where(wanted > y, jnp.minimum(growth, jnp.maximum(room, 0.0)), 1.0)


def details(infrared: jax.Array, smooth: jax.Array, mean: jax.Array) -> jax.Array:
    """What the infrared image shows beside its smooth form; less of what is darker there and cold, as skies are.

    Args:
        infrared, smooth: float32[B, H, W, 1].
        mean: float32[B, 1, 1, 1], of the infrared image.
    """
    difference = infrared - smooth
    warmth = jnp.clip(infrared / jnp.maximum(mean, 1e-3), 0, 1)
    return jnp.maximum(difference, 0) + warmth * jnp.minimum(difference, 0)


def fuse(
    dehazed: jax.Array, infrared: jax.Array, gains: jax.Array, detail: jax.Array, strength: float | jax.Array = 1.0
) -> jax.Array:
    """The fused image, unclipped.

    Its luma is V + (1 + g) max(R - V, 0) + d D, with the lumas V of the dehazed and R of the infrared image.

    Args:
        dehazed: float32[B, H, W, 3].
        infrared: float32[B, H, W, 1].
        gains: float32[B, H, W, 2]: g and d.
        detail: float32[B, H, W, 1], D as of `details`.
        strength: of all that infrared adds, 0 to 1.
    """
    y = luma(dehazed)
    excess, share = jnp.split(gains, 2, axis=-1)
    added = (1 + excess) * jnp.maximum(infrared - y, 0) + share * detail
    return brightened(dehazed, y + strength * added)


def full_size(
    maps: Maps,
    visible: jax.Array,
    infrared: jax.Array,
    bound: float | jax.Array = BOUND,
    dehaze_strength: float | jax.Array = 1.0,
    infrared_strength: float | jax.Array = 1.0,
) -> dict[str, jax.Array]:
    """Images of full size from the maps.

    Args:
        maps: as the network gives.
        visible: float32[B, H, W, 3] in [0, 1], hazy.
        infrared: float32[B, H, W, 1] in [0, 1].
        bound, dehaze_strength: see `dehaze`.
        infrared_strength: see `fuse`.

    Returns:
        `dehazed`, `fused` float32[B, H, W, 3] in about [0, 1]; `transmission` [B, H, W, 1]; `airlight` [B, H, W, 3].
    """
    size = visible.shape[1:3]
    t = transmission_at(maps, visible, infrared)
    airlight, gains, smooth = (resize_bilinear(x, size) for x in (maps.airlight, maps.gains, maps.smooth))
    dehazed = dehaze(visible, t, airlight, bound, dehaze_strength)
    detail = details(infrared, smooth, maps.mean)
    fused = fuse(jnp.clip(dehazed, 0, 1), infrared, gains, detail, infrared_strength)
    return {"dehazed": dehazed, "fused": fused, "transmission": t, "airlight": airlight}


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

