"""Images that the tests of haze share."""

import cv2
import numpy as np


def rng(seed=0):
    return np.random.default_rng(seed)


def smooth_image(height, width, seed, dtype=np.uint8, dark=False):
    """A random smooth colour image that uses most of the range, or (dark) its lower part."""
    coarse = rng(seed).uniform(0, 0.35 if dark else 1, (height // 16 + 2, width // 16 + 2, 3))
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.rint(image * np.iinfo(dtype).max).astype(dtype)
