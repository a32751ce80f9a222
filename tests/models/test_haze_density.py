"""The haze estimator against OpenCV, stored values of an independent guided filter, and finite differences."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import TEST_DATA
from iassf_jax.models import guided_filter as guided
from iassf_jax.models import haze_density as hde
from iassf_jax.models import windows

SIZES = [(40, 56), (7, 9), (1, 1)]

# Jitted: operation by operation, each of these is dozens of small compilations.
dark_channel = jax.jit(hde.dark_channel, static_argnames="window")
box_mean = jax.jit(windows.box_mean, static_argnames=("before", "after", "border"))
guided_filter = jax.jit(guided.guided_filter, static_argnames=("radius", "border"))
haze_density = jax.jit(hde.haze_density, static_argnames="radius")


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", [15, 1])
def test_dark_channel_is_opencvs_erosion(size, window):
    images = random_images(2, *size, 5)
    dark = dark_channel(jnp.asarray(images), window=window)
    kernel = np.ones((window, window), np.uint8)
    for image, result in zip(images, dark, strict=True):
        np.testing.assert_array_equal(result, cv2.erode(image.min(axis=-1), kernel).reshape(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("border, flag", [("symmetric", cv2.BORDER_REFLECT), ("reflect", cv2.BORDER_REFLECT_101)])
@pytest.mark.parametrize("before, after", [(60, 60), (30, 29)])
def test_box_mean_is_opencvs_box_filter(size, border, flag, before, after):
    if border == "reflect" and min(size) < 2:
        pytest.skip("one pixel has no neighbour to mirror")
    image = random_images(*size)
    padded = np.pad(image, ((before, after), (before, after)), mode=border)
    side = before + after + 1
    expected = cv2.boxFilter(padded.astype(np.float64), -1, (side, side), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    result = box_mean(jnp.asarray(image)[None], before, after, border)[0]
    np.testing.assert_allclose(result, expected[: size[0], : size[1]], rtol=2e-6)
    if min(size) > max(before, after):  # where OpenCV can mirror by itself
        direct = cv2.blur(image, (side, side), anchor=(before, before), borderType=flag)
        np.testing.assert_allclose(result, direct, rtol=1e-5)


def test_box_mean_keeps_precision_on_large_images():
    """A running sum over 4000 pixels in float32 would be off by about 1e-5 here."""
    image = 1000 + random_images(1, 8, 4000)
    exact = np.pad(image[0].astype(np.float64), 60, mode="symmetric")
    kernel = np.ones(121) / 121
    for axis in (0, 1):
        exact = np.apply_along_axis(np.convolve, axis, exact, kernel, "valid")
    np.testing.assert_allclose(box_mean(jnp.asarray(image), 60, 60)[0], exact, rtol=3e-7)


def test_guided_filter_is_opencv_contribs():
    """Values of `cv2.ximgproc.guidedFilter`, OpenCV 5.0.0; `data/make_guided_filter.py` made them."""
    stored = np.load(TEST_DATA / "guided_filter.npz")
    for case in range(int(stored["cases"])):
        guide, image, expected = (stored[f"{name}{case}"] for name in ("guide", "image", "expected"))
        radius, epsilon = int(stored[f"radius{case}"]), float(stored[f"epsilon{case}"])
        result = guided_filter(jnp.asarray(guide)[None], jnp.asarray(image)[None], radius, epsilon)[0]
        np.testing.assert_allclose(result, expected, atol=5e-5, err_msg=f"case {case}")


def test_atmospheric_light_by_hand():
    """2000 pixels: the brightest two of the dark channel count; the image is 0.5 and 0.7 there."""
    dark = np.linspace(0, 0.5, 2000, dtype=np.float32).reshape(1, 40, 50)
    image = np.zeros((1, 40, 50), np.float32)
    image[0, 39, 47:] = 1.0, 0.7, 0.5
    assert hde.atmospheric_light(jnp.asarray(image), jnp.asarray(dark))[0] == pytest.approx(0.6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [0.0, -3.5, 1e6])
def test_constant_images_give_no_nan(size, value):
    features = jnp.full((1, *size, 4), value)
    density, gradient = jax.jit(jax.value_and_grad(lambda x: hde.haze_density(x).sum()))(features)
    assert 0 <= float(density) / np.prod(size) < 1e-6
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("size", SIZES)
def test_density_is_a_density(size):
    density = haze_density(jnp.asarray(random_images(2, *size, 6)) * 8 - 4)
    assert density.shape == (2, *size) and density.dtype == jnp.float32
    assert (density >= 0).all() and (density <= 1).all()


def test_hazier_regions_are_denser():
    """Left half clear (dark pixels between bright ones), right half veiled by white."""
    clear = random_images(1, 64, 128, 3)
    hazy = clear.copy()
    hazy[:, :, 64:] = 0.2 * clear[:, :, 64:] + 0.8
    density = haze_density(jnp.asarray(hazy), radius=8)[0]
    assert density[:, 80:].mean() > 0.6 > 0.3 > density[:, :48].mean()


@pytest.mark.parametrize("size, radius", [((24, 30), 8), ((9, 11), 60)])
def test_gradient_matches_finite_differences(size, radius):
    """In float64, along random directions; minima make the function piecewise smooth, so small steps are needed."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        weights = jnp.asarray(rng.standard_normal((1, *size)))

        def objective(images):
            mean = images.mean(axis=-1)
            light = hde.atmospheric_light(mean, hde.dark_channel(images, 5), 0.01)[:, None, None]
            transmission = 1 - 0.95 * hde.local_minimum(mean / light, 5)
            return (weights * guided.guided_filter(mean, transmission, radius, 1e-2)).sum()

        x = jnp.asarray(rng.random((1, *size, 3)))
        objective, gradient_of = jax.jit(objective), jax.jit(jax.grad(objective))
        gradient = gradient_of(hde.normalise_image(x))
        for _ in range(4):
            direction = jnp.asarray(rng.standard_normal(x.shape))
            step = 1e-7 * direction
            base = hde.normalise_image(x)
            numeric = (objective(base + step) - objective(base - step)) / 2e-7
            np.testing.assert_allclose((gradient * direction).sum(), numeric, rtol=1e-4)


def test_gradient_of_the_normalisation_matches_finite_differences():
    with jax.enable_x64(True):
        rng = np.random.default_rng(4)
        x, weights, direction = (jnp.asarray(rng.standard_normal((1, 6, 7, 3))) for _ in range(3))

        def objective(x):
            return (weights * hde.normalise_image(x)).sum()

        numeric = (objective(x + 1e-7 * direction) - objective(x - 1e-7 * direction)) / 2e-7
        np.testing.assert_allclose((jax.grad(objective)(x) * direction).sum(), numeric, rtol=1e-6)
