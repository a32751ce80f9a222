"""Recovering the parameters of the released hazy images."""

import math
from pathlib import Path

import numpy as np
import pytest

from haze_fit import fit_msrs_release
from haze_images import rng, smooth_image
from iassf_jax.data import haze, images
from iassf_jax.data.haze import HazeParams, apply_haze, draw_haze
from iassf_jax.errors import UserError

RELEASED = Path(__file__).resolve().parents[3] / "shared" / "data" / "msrs"
needs_released = pytest.mark.skipif(not RELEASED.is_dir(), reason=f"needs the released images in {RELEASED}")


def psnr(a, b):
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dark", [False, True])
def test_fit_recovers_drawn_parameters(seed, dark):
    drawn = draw_haze("msrs_release", rng([seed, 11]), {"beta": (0.002, 0.05)})
    clear = smooth_image(160, 200, seed, dark=dark)
    hazy = apply_haze(clear, drawn)
    fitted = fit_msrs_release(clear, hazy)
    assert psnr(apply_haze(clear, fitted), hazy) > 79
    assert fitted.kind == "msrs_release" and fitted.half_range and len(set(fitted.airlight)) == 1
    # The optical depth is what the image shows; A alone shows less, the thinner the haze.
    t, expected = (haze.transmission(params, 160, 200) for params in (fitted, drawn))
    np.testing.assert_allclose(t, expected, atol=5e-4)
    assert abs(fitted.airlight[0] - drawn.airlight[0]) < 5e-5 / drawn.beta


@pytest.mark.parametrize("beta", [0.0, 1e-6, 1e-4, 0.2])
def test_fit_with_hardly_any_or_very_much_haze(beta):
    clear = smooth_image(96, 128, 3)
    hazy = apply_haze(clear, HazeParams("msrs_release", (0.45,) * 3, beta, 0.5, True))
    assert psnr(apply_haze(clear, fit_msrs_release(clear, hazy)), hazy) > 79


def test_fit_of_16_bits():
    clear = smooth_image(96, 128, 5, np.uint16)
    drawn = draw_haze("msrs_release", rng(6))
    fitted = fit_msrs_release(clear, apply_haze(clear, drawn))
    np.testing.assert_allclose(
        [fitted.airlight[0], fitted.beta, fitted.ripple], [drawn.airlight[0], drawn.beta, drawn.ripple], atol=2e-5
    )


def test_fit_of_a_flat_image_and_of_another_haze_end_without_a_warning():
    flat = np.full((32, 40, 3), 90, np.uint8)
    hazy = apply_haze(flat, HazeParams("msrs_release", (0.4,) * 3, 0.03, 0.5, True))
    assert psnr(apply_haze(flat, fit_msrs_release(flat, hazy)), hazy) > 60
    clear = smooth_image(64, 64, 1)
    other = apply_haze(clear, HazeParams("homogeneous", (0.9, 0.8, 0.7), 1.0))
    assert fit_msrs_release(clear, other).kind == "msrs_release"


def test_fit_refuses():
    image = np.zeros((4, 4, 3), np.uint8)
    for clear, hazy, match in [
        (image, image[:3], "make them equal"),
        (image, image.astype(np.uint16), "make them equal"),
        (image[..., 0], image[..., 0], "needs uint8 or uint16 images"),
        (image / 255.0, image / 255.0, "not float64"),
    ]:
        with pytest.raises(UserError, match=match):
            fit_msrs_release(clear, hazy)


def refit(stem):
    clear, released = (images.read_visible(RELEASED / name / f"{stem}.webp") for name in ("GT", "hazy"))
    fitted = fit_msrs_release(clear, released)
    hazy = apply_haze(clear, fitted)
    part = np.s_[112:368, 200:456]
    assert np.array_equal(apply_haze(clear[part], fitted, window=(112, 200, 480, 640)), hazy[part])
    return fitted, np.count_nonzero(hazy != released)


@needs_released
@pytest.mark.parametrize("stem", ["00004N", "00028N", "00055D", "00091D", "00139D", "00016N"])
def test_released_images_are_reproduced_bit_for_bit(stem):
    _, different = refit(stem)
    assert different == 0


@needs_released
@pytest.mark.slow
def test_all_released_images_are_reproduced_bit_for_bit_with_parameters_in_the_stated_ranges():
    stems = sorted(path.stem for path in (RELEASED / "GT").iterdir())
    fits = [refit(stem) for stem in stems]
    assert len(fits) == 300 and [stem for stem, (_, bad) in zip(stems, fits, strict=True) if bad] == []
    found = np.array([[p.airlight[0], p.beta, p.ripple] for p, _ in fits])
    assert (found >= [0.3, 0, 0.4]).all() and (found <= [0.6, 0.05, 0.6]).all()
