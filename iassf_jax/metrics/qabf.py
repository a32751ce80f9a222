"""Q_AB/F: how much of the sources' edges the fused image carries."""

import jax
import jax.numpy as jnp

from iassf_jax.metrics.filters import as_float, sobel

VARIANTS = ("standard", "liu")


def q_abf(fused: jax.Array, infrared: jax.Array, visible: jax.Array, variant: str = "standard") -> jax.Array:
    """Edge strength and orientation that are preserved, weighted by the sources' edge strength. Higher is better.

    Args:
        fused, infrared, visible: [B, H, W], whole numbers in 0..255.
        variant: "standard" (default; `analysis_Qabf.m` of Evaluation-for-Image-Fusion, `Evaluator.Qabf` of CDDFuse) or
            "liu" (`metricXydeas.m` of Z. Liu's toolbox: other constants, and the mean of each pixel's ratio).

    Returns:
        float[B], at most 0.9754 by the standard (identical images); 0 there where no source has an edge.

    Source:
        Xydeas, Petrovic, "Objective image fusion performance measure", Electronics Letters 2000.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}: use one of {', '.join(VARIANTS)}")
    fused, infrared, visible = map(as_float, (fused, infrared, visible))
    return (_standard if variant == "standard" else _liu)(fused, infrared, visible)


def _standard(fused: jax.Array, infrared: jax.Array, visible: jax.Array) -> jax.Array:
    """With the constants and the quirk that implementations share: a ratio of equal strengths is the strength."""
    strength_f, angle_f = _edges(fused)
    numerator = denominator = 0.0
    for source in (infrared, visible):
        strength, angle = _edges(source)
        larger = jnp.maximum(strength, strength_f)
        ratio = jnp.minimum(strength, strength_f) / jnp.where(larger > 0, larger, 1.0)
        ratio = jnp.where(strength == strength_f, strength_f, ratio)
        aligned = 1 - jnp.abs(angle - angle_f) / (jnp.pi / 2)
        kept = 0.9994 * jax.nn.sigmoid(15 * (ratio - 0.5)) * 0.9879 * jax.nn.sigmoid(22 * (aligned - 0.8))
        numerator += (kept * strength).sum(axis=(1, 2))
        denominator += strength.sum(axis=(1, 2))
    return jnp.where(denominator > 0, numerator / jnp.where(denominator > 0, denominator, 1.0), 0.0)


def _liu(fused: jax.Array, infrared: jax.Array, visible: jax.Array) -> jax.Array:
    strength_f, angle_f = _edges(fused, least=1e-5)
    kept, weights = [], []
    for source in (infrared, visible):
        strength, angle = _edges(source, least=1e-5)
        larger = jnp.maximum(strength, strength_f)
        ratio = jnp.where(larger > 0, jnp.minimum(strength, strength_f) / jnp.where(larger > 0, larger, 1.0), 1.0)
        aligned = jnp.abs(jnp.abs(angle - angle_f) - jnp.pi / 2) * 2 / jnp.pi
        kept.append(jax.nn.sigmoid(10 * (ratio - 0.5)) * jax.nn.sigmoid(20 * (aligned - 0.75)))
        weights.append(strength)
    total = weights[0] + weights[1]
    weighted = (kept[0] * weights[0] + kept[1] * weights[1]) / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, weighted, (kept[0] + kept[1]) / 2).mean(axis=(1, 2))


def _edges(x: jax.Array, least: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Strength, and orientation in (-pi/2, pi/2]; `least` stands for a horizontal response of 0, where it is given."""
    across, down = sobel(x)
    vertical = jnp.arctan(down / least) if least else jnp.full_like(down, jnp.pi / 2)
    angle = jnp.where(across == 0, vertical, jnp.arctan(down / jnp.where(across == 0, 1.0, across)))
    return jnp.sqrt(across * across + down * down), angle
