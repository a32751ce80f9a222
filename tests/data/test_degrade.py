"""Degraded inputs: statistics of the noise, JPEG, infrared levels, and what is off."""

import numpy as np
import pytest

from haze_images import rng, smooth_image
from iassf_jax.data.augment.degrade import add_noise, change_levels, degrade, problems_of, recompress

ALL = {
    "noise_chance": 1.0,
    "shot_noise": (0.001, 0.005),
    "read_noise": (0.005, 0.02),
    "jpeg_chance": 1.0,
    "jpeg_quality": (40, 95),
    "infrared_chance": 1.0,
    "infrared_gain": (0.6, 1.3),
    "infrared_gamma": (0.7, 1.5),
    "infrared_contrast": (0.6, 1.3),
    "infrared_offset": (-0.1, 0.1),
    "misaligned_chance": 0.0,
    "misaligned_by": (-0.01, 0.01),
    "no_infrared_chance": 0.0,
}


def pair(dtype=np.uint8):
    return smooth_image(48, 64, 0, dtype), smooth_image(48, 64, 1, dtype)[..., 0]


def test_off_is_off_and_draws_nothing():
    hazy, infrared = pair()
    generator = rng(3)
    out = degrade(hazy, infrared, generator, {**ALL, "noise_chance": 0.0, "jpeg_chance": 0.0, "infrared_chance": 0.0})
    assert out[0] is hazy and out[1] is infrared
    assert generator.random() == rng(3).random()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_types_shapes_and_repeatability(dtype):
    hazy, infrared = pair(dtype)
    copies = hazy.copy(), infrared.copy()
    first, again = (degrade(hazy, infrared, rng(4), ALL) for _ in range(2))
    for before, copy, x, y in zip((hazy, infrared), copies, first, again, strict=True):
        assert x.dtype == dtype and x.shape == before.shape and x.flags.c_contiguous
        assert np.array_equal(x, y) and np.array_equal(before, copy) and not np.array_equal(x, before)


@pytest.mark.parametrize("level, shot, read", [(0.5, 0.0, 0.02), (0.5, 0.004, 0.0), (0.25, 0.004, 0.03)])
def test_noise_has_the_variance_that_it_says(level, shot, read):
    image = np.full((200, 200, 3), round(level * 65535), np.uint16)
    noise = add_noise(image, rng(5), shot, read) / 65535 - level
    assert abs(noise.mean()) < 1e-3
    assert noise.var() == pytest.approx(shot * level + read**2, rel=0.03)


def test_noise_is_cut_off_at_black_and_white():
    image = np.zeros((50, 50, 3), np.uint8)
    image[25:] = 255
    noisy = add_noise(image, rng(6), 0.0, 0.1)
    assert noisy[:25].max() < 150 and noisy[25:].min() > 105


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jpeg_keeps_colours_and_loses_more_at_low_quality(dtype):
    image = smooth_image(48, 64, 2, dtype)
    image[..., 0] //= 4  # channels that are exchanged would show
    errors = [np.abs(recompress(image, q).astype(float) - image).mean() / np.iinfo(dtype).max for q in (10, 50, 98)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.01 and errors[0] < 0.1


def test_levels_by_hand():
    # x = 0, 0.2, 1: 0.8 x^2 = 0, 0.032, 0.8; mean 0.277333; half the contrast: 0.138667, 0.154667, 0.538667; + 0.1
    out = change_levels(np.array([[0, 51, 255]], np.uint8), 0.8, 2.0, 0.5, 0.1)
    assert out.tolist() == [[61, 65, 163]]
    assert change_levels(np.arange(256, dtype=np.uint8)[None], 1, 1, 1, 0).ravel().tolist() == list(range(256))


def test_levels_never_invert():
    ramp = np.arange(256, dtype=np.uint8)[None]
    brighter = darker = 0
    for seed in range(40):
        out = degrade(np.zeros((8, 8, 3), np.uint8), ramp, rng(seed), {**ALL, "jpeg_chance": 0.0})[1].astype(int)
        assert (np.diff(out) >= 0).all()
        brighter += out.mean() > ramp.mean()
        darker += out.mean() < ramp.mean()
    assert brighter > 5 and darker > 5


def test_problems():
    assert problems_of(ALL) == []
    wrong = {"noise_chance": -0.1, "blur": 1, "shot_noise": (0.2, 0.1), "infrared_gamma": (0, 1), "read_noise": 0.1}
    found = "; ".join(problems_of({**ALL, **wrong}))
    for words in ("no 'blur'", "noise_chance is -0.1", "shot_noise is", "infrared_gamma is", "read_noise is 0.1"):
        assert words in found
