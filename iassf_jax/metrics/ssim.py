"""Structural similarity."""

import jax
import jax.numpy as jnp

from iassf_jax.metrics.filters import correlate_valid, gaussian


def ssim(image: jax.Array, reference: jax.Array, data_range: float = 255.0) -> jax.Array:
    """SSIM of each image, the mean over windows and channels.

    Window: 11x11 Gaussian, sigma 1.5, inside the image only (smaller images: the largest odd window that fits);
    K1 = 0.01, K2 = 0.03; population covariance.

    Args:
        image, reference: numbers[B, H, W, C] in 0..data_range.
        data_range: the largest possible value.

    Returns:
        float32[B], at most 1.

    Source:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004. Agrees
        with scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`.
    """
    # Scaled and centred: the variances are differences of squares in float32.
    a, b = (x.astype(jnp.float32) / data_range - 0.5 for x in (image, reference))
    smallest = min(image.shape[1:3])
    weights = gaussian(min(11, smallest - (smallest + 1) % 2), 1.5)
    mean_a, mean_b = correlate_valid(a, weights), correlate_valid(b, weights)
    variance_a = correlate_valid(a * a, weights) - mean_a * mean_a
    variance_b = correlate_valid(b * b, weights) - mean_b * mean_b
    covariance = correlate_valid(a * b, weights) - mean_a * mean_b
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * structure).mean(axis=(1, 2, 3))
