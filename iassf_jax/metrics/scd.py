"""Q_SCD: sum of the correlations of differences."""

import jax
import jax.numpy as jnp

from iassf_jax.metrics.filters import as_float


def q_scd(fused: jax.Array, infrared: jax.Array, visible: jax.Array) -> jax.Array:
    """corr(fused - visible, infrared) + corr(fused - infrared, visible), in about -2..2. Higher is better.

    Args:
        fused, infrared, visible: [B, H, W] in 0..255.

    Returns:
        float[B]. A correlation with a constant image is undefined; it counts as 0.

    Source:
        Aslantas, Bendes, "A new image quality metric for image fusion: the sum of the correlations of differences",
        AEU 2015. Agrees with `analysis_SCD.m` of Evaluation-for-Image-Fusion and `Evaluator.SCD` of CDDFuse.
    """
    fused, infrared, visible = map(as_float, (fused, infrared, visible))
    return _correlation(fused - visible, infrared) + _correlation(fused - infrared, visible)


def _correlation(a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = (x - x.mean(axis=(1, 2), keepdims=True) for x in (a, b))
    covariance = (a * b).sum(axis=(1, 2))
    energy = (a * a).sum(axis=(1, 2)) * (b * b).sum(axis=(1, 2))
    return jnp.where(energy > 0, covariance / jnp.sqrt(jnp.where(energy > 0, energy, 1.0)), 0.0)
