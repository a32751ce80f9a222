"""The guided filter: locally, the output is linear in the guide.

Sources: He et al., "Guided Image Filtering", ECCV 2010; He and Sun, "Fast Guided Filter", arXiv 1505.00996.
"""

import functools
import math

import jax
import jax.numpy as jnp

from iassf_jax.models.windows import box_mean

RADIUS = 2
"""Of `local_linear`, in pixels at working size."""
EPSILONS = (1e-4, 1e-3)
"""Of the hazy and of the infrared luma, squared units of 0..1: infrared cameras have noise in rows and columns, which
must not show in skies."""
NOISE = 3e-4
"""Variance of the hazy luma at working size, of 0..1, that counts as noise."""


def guided_filter(
    guide: jax.Array,
    image: jax.Array,
    radius: int | tuple[int, int] = 60,
    epsilon: float = 1e-4,
    border: str = "symmetric",
) -> jax.Array:
    """Edge-preserving filter: locally, the output is linear in the guide (He et al. 2010, Eq. 5-8).

    Args:
        guide, image: float[B, H, W].
        radius: pixels on each side of the window's centre, or (before, after).
        epsilon: regularisation, in squared units of the guide.
        border: as in `box_mean`.
    """
    before, after = (radius, radius) if isinstance(radius, int) else radius
    mean = functools.partial(box_mean, before=before, after=after, border=border)
    # Centred values: the variance is a difference of squares, and loses no digits to a common offset.
    offset = guide.mean(axis=(1, 2), keepdims=True)
    centred = guide - offset
    stacked = jnp.concatenate([centred, image, centred * image, centred * centred])
    mean_g, mean_i, mean_gi, mean_gg = jnp.split(mean(stacked), 4)
    slope = (mean_gi - mean_g * mean_i) / (jnp.maximum(mean_gg - mean_g * mean_g, 0.0) + epsilon)
    intercept = mean_i - slope * mean_g
    slope, intercept = jnp.split(mean(jnp.concatenate([slope, intercept])), 2)
    return slope * centred + intercept


def local_linear(guides: tuple[jax.Array, jax.Array], x: jax.Array, radius: int = RADIUS) -> jax.Array:
    """What of x the guides explain, in each window: float32[B, h, w, 3], a slope for each guide and an offset.

    Least squares with the regularisation EPSILONS, averaged over the windows that a pixel lies in.

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
    squares = zip((maa, mbb), (ma, mb), EPSILONS, strict=True)
    va, vb = (jnp.maximum(square - m * m, 0) + epsilon for square, m, epsilon in squares)
    ab, ax, bx = mab - ma * mb, max_ - ma * mx, mbx - mb * mx
    # Rounding must not make guides more alike than alike.
    determinant = jnp.maximum(va * vb - ab * ab, math.prod(EPSILONS))
    slope_a, slope_b = (vb * ax - ab * bx) / determinant, (va * bx - ab * ax) / determinant
    slope_a, slope_b, offset = _means([slope_a, slope_b, mx - slope_a * ma - slope_b * mb], radius)
    return jnp.stack([slope_a, slope_b, offset - slope_a * centres[0] - slope_b * centres[1]], axis=-1)


def _means(maps: list[jax.Array], radius: int) -> list[jax.Array]:
    """`box_mean` of each map [B, h, w]."""
    return jnp.split(box_mean(jnp.concatenate(maps), radius, radius), len(maps))


def without_noise(guide: jax.Array, image: jax.Array, radius: int = RADIUS) -> jax.Array:
    """An image as locally linear in its own luma: float32[B, h, w, 6], three slopes and three offsets.

    Where the luma varies less than NOISE, slopes are small, and only the local mean stays.

    Args:
        guide: float32[B, h, w], the luma.
        image: float32[B, h, w, 3].
    """
    planes = [image[..., c] for c in range(3)]
    mean_g, mean_gg, *means = _means([guide, guide * guide, *planes, *(guide * x for x in planes)], radius)
    variance = jnp.maximum(mean_gg - mean_g * mean_g, 0)
    slopes = [(both - mean_g * mean) / (variance + NOISE) for mean, both in zip(means[:3], means[3:], strict=True)]
    offsets = [mean - slope * mean_g for mean, slope in zip(means[:3], slopes, strict=True)]
    return jnp.stack(_means([*slopes, *offsets], radius), axis=-1)
