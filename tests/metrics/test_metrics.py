"""PSNR and SSIM against values by hand and against scikit-image."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from iassf_jax.metrics.psnr import psnr
from iassf_jax.metrics.ssim import ssim


def images(*shape, seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.normal(0, 4, shape), axis=1)
    reference = np.clip(smooth - smooth.min(), 0, 255)
    noisy = np.clip(reference + rng.normal(0, 12, shape), 0, 255)
    return noisy.round().astype(np.uint8), reference.round().astype(np.uint8)


def test_psnr_by_hand():
    """A difference of 10 everywhere: 20 log10(255 / 10) = 28.1308 dB; of 0.1 in 0..1: 20 dB."""
    black = jnp.zeros((2, 4, 4, 3), jnp.uint8)
    np.testing.assert_allclose(psnr(black + jnp.uint8(10), black), 28.130803, rtol=1e-6)
    np.testing.assert_allclose(psnr(jnp.full((1, 2, 2, 1), 0.1), jnp.zeros((1, 2, 2, 1)), 1.0), 20.0, rtol=1e-6)


def test_psnr_of_equal_images_is_infinite():
    assert psnr(jnp.ones((1, 3, 3, 3)), jnp.ones((1, 3, 3, 3)))[0] == np.inf


@pytest.mark.parametrize("size", [(40, 57), (11, 30)])
def test_ssim_is_scikit_images(size):
    """scikit-image crops its own border by the window's radius, as windows inside the image do."""
    noisy, reference = images(2, *size, 3)
    ours = ssim(jnp.asarray(noisy), jnp.asarray(reference))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    for i in range(2):
        expected = structural_similarity(noisy[i], reference[i], channel_axis=-1, **settings)
        assert float(ours[i]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (4, 7), (10, 10)])
def test_ssim_of_tiny_images(size):
    noisy, reference = images(1, *size, 3)
    assert -1 <= float(ssim(jnp.asarray(noisy), jnp.asarray(reference))[0]) <= 1
    assert float(ssim(jnp.asarray(noisy), jnp.asarray(noisy))[0]) == pytest.approx(1.0)


def test_ssim_of_constant_images_by_hand():
    """No structure: only the luminance term (2ab + C1) / (a^2 + b^2 + C1) with C1 = (0.01 * 255)^2."""
    a, b = 100.0, 120.0
    expected = (2 * a * b + 2.55**2) / (a * a + b * b + 2.55**2)
    value = ssim(jnp.full((1, 20, 20, 1), a), jnp.full((1, 20, 20, 1), b))
    assert float(value[0]) == pytest.approx(expected, rel=1e-5)
