"""Another light on clear images: what is off, levels, colours, and bit depths."""

import numpy as np
import pytest

from haze_images import rng, smooth_image
from iassf_jax.data.augment.relight import problems_of, relight

ALL = {"chance": 1.0, "gain": (0.4, 0.8), "gamma": (0.7, 1.8), "tint": (-0.1, 0.1), "black": (0.0, 0.1)}


def test_off_is_off_and_draws_nothing():
    image, generator = smooth_image(48, 64, 0), rng(3)
    assert relight(image, generator, {**ALL, "chance": 0.0}) is image
    assert generator.random() == rng(3).random()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_are_those_of_the_formula(dtype):
    maximum = np.iinfo(dtype).max
    x = smooth_image(48, 64, 0, dtype)
    fixed = {"chance": 1.0, "gain": (0.5, 0.5), "gamma": (2.0, 2.0), "tint": (0.1, 0.1), "black": (0.05, 0.05)}
    found = relight(x, rng(0), fixed)
    assert found.dtype == dtype and found.shape == x.shape
    expected = 0.05 + 0.95 * 0.5 * 1.1 * (x / maximum) ** 2.0
    np.testing.assert_allclose(found / maximum, expected, atol=0.51 / maximum)


def test_what_is_too_bright_is_white():
    bright = relight(np.full((4, 4, 3), 200, np.uint8), rng(0), {**ALL, "gain": (2.0, 2.0), "gamma": (1.0, 1.0)})
    np.testing.assert_array_equal(bright, 255)


def test_each_image_and_each_colour_has_its_own():
    grey = np.full((4, 4, 3), 128, np.uint8)
    colours = {tuple(relight(grey, rng(seed), ALL)[0, 0]) for seed in range(20)}
    assert len(colours) == 20
    assert any(len(set(colour)) == 3 for colour in colours)
    once = [relight(grey, rng(seed), {**ALL, "chance": 0.5})[0, 0, 0] == 128 for seed in range(60)]
    assert 15 < sum(once) < 45


def test_the_same_generator_gives_the_same_light():
    image = smooth_image(48, 64, 0)
    np.testing.assert_array_equal(relight(image, rng(5), ALL), relight(image, rng(5), ALL))


def test_problems():
    assert problems_of(ALL) == []
    found = "; ".join(problems_of({**ALL, "chance": 1.5, "hue": 1, "gamma": (0.0, 1.0), "black": 0.1}))
    for words in ("no 'hue'", "relight.chance is 1.5", "relight.gamma is", "relight.black is 0.1"):
        assert words in found
