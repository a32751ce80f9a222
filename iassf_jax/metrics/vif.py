"""Q_VIF: visual information fidelity, in the two forms that carry the name."""

import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.metrics.filters import as_float, correlate_valid, gaussian

SMALLEST = 41
"""Images need as many pixels on each side for four scales."""
VARIANTS = ("viff", "vifp_sum", "vifp_mean")
_SCALE_WEIGHTS = (1 / 2.15, 0.0, 0.15 / 2.15, 1 / 2.15)


def q_vif(fused: jax.Array, infrared: jax.Array, visible: jax.Array, variant: str = "viff") -> jax.Array:
    """Visual information of the sources that the fused image carries. Higher is better.

    Args:
        fused, infrared, visible: [B, H, W] in 0..255.
        variant: "viff" (default, the paper's citation; agrees with `VIFF_Public.m` called with infrared, visible,
            fused): at each pixel the source that is less well rendered counts. "vifp_sum": vifp(infrared, fused) +
            vifp(visible, fused), which the field's tables often call VIF or VIFF (agrees with `vifp_mscale.m`,
            CDDFuse, sewar). "vifp_mean": half of it.

    Returns:
        float[B]; NaN for images smaller than 41x41.

    Source:
        Han et al., "A new image fusion performance metric based on visual information fidelity", Information Fusion
        2013; Sheikh, Bovik, "Image information and visual quality", IEEE TIP 2006.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}: use one of {', '.join(VARIANTS)}")
    fused, infrared, visible = map(as_float, (fused, infrared, visible))
    if min(fused.shape[1:]) < SMALLEST:
        return jnp.full(fused.shape[0], jnp.nan)
    if variant == "viff":
        return _viff(infrared, visible, fused)
    total = _vifp(infrared, fused) + _vifp(visible, fused)
    return total if variant == "vifp_sum" else total / 2


def _viff(first: jax.Array, second: jax.Array, fused: jax.Array) -> jax.Array:
    noise = 0.005 * 255**2
    score = 0.0
    images = [first, second, fused]
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        images, window = _next_scale(images, scale)
        (g_1, kept_1, total_1), (g_2, kept_2, total_2) = (_information(x, images[2], window, noise) for x in images[:2])
        kept = jnp.where(g_1 < g_2, kept_1, kept_2) + 1e-7
        total = jnp.where(g_1 < g_2, total_1, total_2) + 1e-7
        score += weight * kept.sum(axis=(1, 2)) / total.sum(axis=(1, 2))
    return score


def _vifp(reference: jax.Array, fused: jax.Array) -> jax.Array:
    kept = total = 0.0
    images = [reference, fused]
    for scale in range(4):
        images, window = _next_scale(images, scale)
        _, kept_here, total_here = _information(*images, window, 2.0)
        kept += kept_here.sum(axis=(1, 2))
        total += total_here.sum(axis=(1, 2))
    return jnp.where(total > 0, kept / jnp.where(total > 0, total, 1.0), jnp.nan)


def _next_scale(images: list[jax.Array], scale: int) -> tuple[list[jax.Array], np.ndarray]:
    size = 2 ** (4 - scale) + 1
    window = gaussian(size, size / 5)
    if scale:
        images = [correlate_valid(x, window)[:, ::2, ::2] for x in images]
    return images, window


def _information(
    reference: jax.Array, distorted: jax.Array, window: np.ndarray, noise: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gain, information that is kept, and information of the reference, at each pixel."""
    batch = reference.shape[0]
    products = [reference, distorted, reference**2, distorted**2, reference * distorted]
    means = correlate_valid(jnp.concatenate(products), window)
    mean_1, mean_2, square_1, square_2, product = (means[i * batch : (i + 1) * batch] for i in range(5))
    variance_1 = jnp.maximum(square_1 - mean_1**2, 0.0)
    variance_2 = jnp.maximum(square_2 - mean_2**2, 0.0)
    gain = (product - mean_1 * mean_2) / (variance_1 + 1e-10)
    rest = variance_2 - gain * (product - mean_1 * mean_2)
    flat = variance_1 < 1e-10
    gain, rest, variance_1 = (jnp.where(flat, x, y) for x, y in ((0.0, gain), (variance_2, rest), (0.0, variance_1)))
    flat = variance_2 < 1e-10
    gain, rest = jnp.where(flat, 0.0, gain), jnp.where(flat, 0.0, rest)
    rest = jnp.maximum(jnp.where(gain < 0, variance_2, rest), 1e-10)
    gain = jnp.maximum(gain, 0.0)
    kept = jnp.log10(1 + gain**2 * variance_1 / (rest + noise))
    return gain, kept, jnp.log10(1 + variance_1 / noise)
