"""Statistics of the fused image alone: Q_SF, standard deviation, average gradient."""

import jax
import jax.numpy as jnp

from iassf_jax.metrics.filters import as_float

VARIANTS = ("mean_valid", "divided_by_pixels")


def q_sf(fused: jax.Array, variant: str = "mean_valid") -> jax.Array:
    """Spatial frequency: root mean square of horizontal and vertical differences. Higher is better.

    Args:
        fused: [B, H, W] in 0..255.
        variant: "mean_valid" (default) divides by the number of differences, as `SF_evaluation.m` of
            Evaluation-for-Image-Fusion and `Evaluator.SF` of CDDFuse; "divided_by_pixels" by H * W, as
            `metricsSpatial_frequency.m` of VIFB.

    Returns:
        float[B]. An image that is one pixel high or wide has no differences in that direction.

    Source:
        Eskicioglu, Fisher, "Image quality measures and their performance", IEEE Trans. Communications 1995.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}: use one of {', '.join(VARIANTS)}")
    fused = as_float(fused)
    total = 0.0
    for axis in (1, 2):
        squares = jnp.square(jnp.diff(fused, axis=axis))
        count = squares[0].size if variant == "mean_valid" else fused[0].size
        total += squares.sum(axis=(1, 2)) / max(count, 1)
    return jnp.sqrt(total)


def standard_deviation(image: jax.Array) -> jax.Array:
    """Standard deviation of the grey levels (SD), [B, H, W] in 0..255 -> float[B]. As `Evaluator.SD` of CDDFuse."""
    return as_float(image).std(axis=(1, 2))


def average_gradient(image: jax.Array) -> jax.Array:
    """Mean of sqrt((gx^2 + gy^2) / 2) with central differences (AG), [B, H, W], 2x2 or larger -> float[B].

    Source:
        Cui et al., "Detail preserved fusion of visible and infrared images...", Optics Communications 2015. As
        `Evaluator.AG` of CDDFuse.
    """
    down, across = jnp.gradient(as_float(image), axis=(1, 2))
    return jnp.sqrt((down * down + across * across) / 2).mean(axis=(1, 2))
