"""Q_MI: mutual information between the fused image and its sources."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from iassf_jax.metrics.filters import as_float

VARIANTS = ("sum_nats", "sum_bits", "sum_bits_saturating", "normalised")


def q_mi(fused: jax.Array, infrared: jax.Array, visible: jax.Array, variant: str = "sum_nats") -> jax.Array:
    """I(infrared; fused) + I(visible; fused), from histograms of 256 levels. Higher is better.

    Args:
        fused, infrared, visible: [B, H, W], whole numbers in 0..255.
        variant: "sum_nats" (default; `metricsMutinf.m` of VIFB, scikit-learn's `mutual_info_score`), "sum_bits" (the
            same in bits), "sum_bits_saturating" (`MI_evaluation.m` of Evaluation-for-Image-Fusion, whose joint
            histogram holds levels 254 and 255 in one bin), "normalised" (Hossny: 2 * I / (H + H) each, 0..2).

    Returns:
        float[B]; 0 where an image is constant.

    Source:
        Qu, Zhang, Yan, "Information measure for performance of image fusion", Electronics Letters 2002.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}: use one of {', '.join(VARIANTS)}")
    fused, *sources = (x.astype(jnp.int32).reshape(x.shape[0], -1) for x in (fused, infrared, visible))
    return sum(_one(x, fused, variant) for x in sources)


def _one(x: jax.Array, fused: jax.Array, variant: str) -> jax.Array:
    saturating = variant == "sum_bits_saturating"
    # The reference counts levels from 1 in 8 bits, in its joint histogram alone.
    joint_x, joint_f = (jnp.minimum(i, 254) if saturating else i for i in (x, fused))
    joint = _entropy(joint_x * 256 + joint_f, 256 * 256)
    of_x, of_f = _entropy(x, 256), _entropy(fused, 256)
    information = jnp.maximum(of_x + of_f - joint, 0.0)  # negative by rounding alone
    if variant == "normalised":
        total = of_x + of_f
        return jnp.where(total > 0, 2 * information / jnp.where(total > 0, total, 1.0), 0.0)
    return information if variant == "sum_nats" else information / jnp.log(as_float(2))


def _entropy(values: jax.Array, levels: int) -> jax.Array:
    """Entropy in nats of int32[B, P] in 0..levels - 1."""
    batch, pixels = values.shape
    counts = jnp.zeros((batch, levels), jnp.int32).at[jnp.arange(batch)[:, None], values].add(1)
    share = as_float(counts) / pixels
    return -xlogy(share, share).sum(axis=1)


def entropy(image: jax.Array) -> jax.Array:
    """Entropy of grey levels in bits (EN), [B, H, W] in 0..255 -> float[B]. Higher is taken as better."""
    return _entropy(image.astype(jnp.int32).reshape(image.shape[0], -1), 256) / jnp.log(as_float(2))
