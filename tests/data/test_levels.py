"""Raw thermal data and images of 10 to 14 bits: what is taken for them, and what they become."""

import cv2
import numpy as np
import pytest

from iassf_jax.data import levels
from iassf_jax.errors import UserError
from image_files import sample


def heat(low, high, dtype=np.uint16):
    """A smooth thermal image whose values span low to high."""
    x = cv2.GaussianBlur(sample((60, 80)), (0, 0), 4).astype(float)
    return np.rint(low + (x - x.min()) / np.ptp(x) * (high - low)).astype(dtype)


@pytest.mark.parametrize("low, high", [(29315, 30815), (51021, 52421), (7000, 7400), (0, 255), (100, 12000)])
def test_raw_data_are_known_by_their_spread(low, high):
    x = heat(low, high)
    found = levels.raw_limits(x)
    np.testing.assert_allclose(found, np.percentile(x[x > 0], (1, 99)))
    assert np.corrcoef(levels.scaled(x, *found).ravel(), x.ravel())[0, 1] > 0.99
    x[:, 0] = 65535  # a column of the sensor that is broken
    np.testing.assert_allclose(levels.raw_limits(x), found, atol=0.02 * (high - low))


@pytest.mark.parametrize(
    "x",
    [
        heat(0, 255, np.uint8),
        heat(100, 140, np.uint8),
        heat(100, 140).astype(np.uint16) * 257,
        heat(100, 140).astype(np.uint16) * 256,
        heat(2000, 40000),
        heat(0, 60000) / 65535,
        np.full((9, 9), 7000, np.uint16),
        np.zeros((9, 9), np.uint16),
        np.full((9, 9), 65535, np.uint16),
    ],
)
def test_other_images_are_not_raw(x):
    """Of 8 bits, even dull ones; of 8 bits times 257 or 256; those that span their 16 bits; constants."""
    assert levels.raw_limits(x) is None


def test_something_small_before_an_even_background_is_seen():
    x = np.full((60, 80), 7000, np.uint16)
    x[30:34, 40:42] = 7300
    assert levels.raw_limits(x) == (7000, 7300)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_bits_that_an_image_uses(bits):
    x = heat(0, 2**bits - 1)
    x[0, 0] = 65535  # a hot pixel
    assert levels.used_bits(x) == bits
    assert levels.used_bits(heat(0, 2**bits - 1) // 2 ** (bits - 8) * 257) is None


def test_images_that_use_their_bits():
    assert levels.used_bits(heat(0, 60000)) is None
    assert levels.used_bits(sample()) is None
    assert levels.used_bits(np.zeros((4, 4), np.uint16)) is None


def test_percentiles_in_words():
    assert levels.parse_percentiles("auto") == "auto" and levels.parse_percentiles("none") is None
    assert levels.parse_percentiles("1 99") == levels.parse_percentiles("1,99") == (1, 99)
    for text in ("", "1", "x y", "1 2 3", "99 1", "nan 3"):
        with pytest.raises(UserError, match="visible percentiles.*give"):
            levels.parse_percentiles(text, "visible")
