"""What is to change in an image, made to follow its edges (ours; the filter is He and Sun's)."""

import jax
import jax.numpy as jnp

from iassf_jax.models.layers import halve, resize_bilinear
from iassf_jax.models.windows import box_mean

STRIDE = 4  # two halvings
EPSILON = 1e-4


def follow_edges(changes: jax.Array, guides: jax.Array, radius: int) -> jax.Array:
    """The fast guided filter (He and Sun, arXiv 1505.00996): locally, the result is linear in the guides.

    Upsampling leaves a lattice of `STRIDE` pixels in what a network draws, and what it draws spills over edges. Haze
    does neither: within a few pixels it follows what the image shows. The filter finds by least squares, in each
    window of an image that is smaller by `STRIDE`, what of the changes the guides explain, and puts the guides at full
    size in. `guided_filter.guided_filter`, the exact one with one guide, is the haze estimator's.

    Args:
        changes: float32[B, H, W, C]; H and W are multiples of `STRIDE`.
        guides: float32[B, H, W, 1 or 2], in about [-1, 1].
        radius: of the windows, in pixels; a multiple of `STRIDE`.

    Returns:
        float32[B, H, W, C].
    """
    count, channels = guides.shape[-1], changes.shape[-1]
    # Centred values: covariances are differences of products, and lose no digits to a common offset.
    guides = guides - guides.mean(axis=(1, 2), keepdims=True)
    small = halve(halve(jnp.concatenate([guides, changes], axis=-1)))
    g, x = jnp.split(small, (count,), axis=-1)
    pairs = [(i, j) for i in range(count) for j in range(i, count)]
    squares = [_one(g, i) * _one(g, j) for i, j in pairs]
    products = [_one(g, i) * x for i in range(count)]
    means = _box_mean(jnp.concatenate([small, *squares, *products], axis=-1), radius // STRIDE)
    mean_g, mean_x, mean_gg, mean_gx = jnp.split(
        means, (count, count + channels, small.shape[-1] + len(pairs)), axis=-1
    )
    variance = {(i, j): _one(mean_gg, k) - _one(mean_g, i) * _one(mean_g, j) for k, (i, j) in enumerate(pairs)}
    covariance = [y - _one(mean_g, i) * mean_x for i, y in enumerate(jnp.split(mean_gx, count, axis=-1))]
    slopes = _solved(variance, covariance)
    offset = mean_x - sum(_one(mean_g, i) * slope for i, slope in enumerate(slopes))
    smooth = _box_mean(jnp.concatenate([*slopes, offset], axis=-1), radius // STRIDE)
    *slopes, offset = jnp.split(resize_bilinear(smooth, changes.shape[1:3]), count + 1, axis=-1)
    return sum(_one(guides, i) * slope for i, slope in enumerate(slopes)) + offset


def _solved(variance: dict[tuple[int, int], jax.Array], covariance: list[jax.Array]) -> list[jax.Array]:
    """Slopes of the regularised least squares for one or two guides, in closed form."""
    first = jnp.maximum(variance[0, 0], 0.0) + EPSILON
    if len(covariance) == 1:
        return [covariance[0] / first]
    second, both = jnp.maximum(variance[1, 1], 0.0) + EPSILON, variance[0, 1]
    # Rounding must not make guides more alike than alike.
    determinant = jnp.maximum(first * second - both * both, EPSILON * EPSILON)
    return [
        (second * covariance[0] - both * covariance[1]) / determinant,
        (first * covariance[1] - both * covariance[0]) / determinant,
    ]


def _one(x: jax.Array, channel: int) -> jax.Array:
    return x[..., channel : channel + 1]


def _box_mean(x: jax.Array, radius: int) -> jax.Array:
    """Of each channel: [B, h, w, C]."""
    planes = jnp.moveaxis(x, -1, 1)
    found = box_mean(planes.reshape(-1, *planes.shape[2:]), radius, radius)
    return jnp.moveaxis(found.reshape(planes.shape), 1, -1)
