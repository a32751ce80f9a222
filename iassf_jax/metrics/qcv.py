"""Q_CV: perceived difference to the sources, weighted by their saliency."""

import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.metrics.filters import as_float, sobel

_BLOCK = 16
_ALPHA = 5


def q_cv(fused: jax.Array, infrared: jax.Array, visible: jax.Array) -> jax.Array:
    """Mean square of the contrast-filtered difference in 16x16 blocks, weighted by block saliency. Lower is better.

    Every image is stretched to 0..255 by its extremes and rounded; partial blocks are filled with zeros. Frequencies
    count cycles an image, so the score depends on the resolution.

    Args:
        fused, infrared, visible: [B, H, W], whole numbers in 0..255.

    Returns:
        float[B]; NaN where no source has an edge.

    Source:
        Chen, Varshney, "A human perception inspired quality metric for image fusion based on regional information",
        Information Fusion 2007, with the Mannos-Sakrison filter. Agrees with `metricChen.m` (Z. Liu) and
        `metricsQcv.m` of VIFB on grey images.
    """
    difference, saliency = perceived_difference(*map(_stretch, (fused, infrared, visible)))
    return difference / saliency


def perceived_difference(fused: jax.Array, infrared: jax.Array, visible: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Q_CV of images that are stretched already, float[B, H, W] in 0..255, as numerator and denominator: float[B]."""
    height, width = fused.shape[1:]
    contrast = np.fft.ifftshift(_contrast_sensitivity(height, width))[:, : width // 2 + 1]  # it is symmetric
    contrast = jnp.asarray(contrast)[None].astype(jnp.result_type(complex))
    numerator = denominator = 0.0
    for source in (infrared, visible):
        across, down = sobel(source)
        saliency = _block_sums(jnp.sqrt(across * across + down * down) ** _ALPHA)
        difference = jnp.fft.irfft2(jnp.fft.rfft2(source - fused) * contrast, s=(height, width))
        numerator += (saliency * _block_sums(difference * difference) / _BLOCK**2).sum(axis=(1, 2))
        denominator += saliency.sum(axis=(1, 2))
    return numerator, denominator


def _stretch(x: jax.Array) -> jax.Array:
    """To 0..255, rounded half up; in integers, since a division that is off by a digit moves ties to another level."""
    x = x.astype(jnp.int32)
    low, high = (f(x, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    spread = jnp.maximum(high - low, 1)
    return as_float((510 * (x - low) + spread) // (2 * spread))


def _contrast_sensitivity(height: int, width: int) -> np.ndarray:
    """Mannos-Sakrison, float64[H, W], zero frequency in the middle."""
    down, across = ((np.arange(n) - n // 2) * 2 / n * n / 8 for n in (height, width))
    radius = np.hypot(down[:, None], across[None])
    return 2.6 * (0.0192 + 0.144 * radius) * np.exp(-((0.144 * radius) ** 1.1))


def _block_sums(x: jax.Array) -> jax.Array:
    batch, height, width = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % _BLOCK), (0, -width % _BLOCK)))
    return x.reshape(batch, -(-height // _BLOCK), _BLOCK, -(-width // _BLOCK), _BLOCK).sum(axis=(2, 4))
