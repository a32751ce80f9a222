"""Grey and luma of 8-bit images, level by level as MATLAB gives them; metrics depend on exact grey levels."""

import numpy as np

# The first column of MATLAB's rgb2gray, full precision; OpenCV's and Pillow's rounded weights differ in single levels.
_GRAY = (0.298936021293775, 0.587043074451121, 0.114020904255103)
_LUMA = (65.481, 128.553, 24.966)


def to_gray(image: np.ndarray) -> np.ndarray:
    """MATLAB's `rgb2gray`: uint8[..., H, W, 3] -> uint8[..., H, W], rounded half up; grey images stay."""
    if image.ndim < 3 or image.shape[-1] != 3:
        return image
    return np.floor(_weighted(image, _GRAY) + 0.5).astype(np.uint8)


def to_luma(image: np.ndarray) -> np.ndarray:
    """Y of MATLAB's `rgb2ycbcr`: uint8[..., H, W, 3] -> uint8[..., H, W] in 16..235, rounded half up."""
    return np.floor(_weighted(image, _LUMA) / 255 + 16.5).astype(np.uint8)


def _weighted(image: np.ndarray, weights: tuple[float, float, float]) -> np.ndarray:
    return sum(w * image[..., c].astype(np.float64) for c, w in enumerate(weights))
