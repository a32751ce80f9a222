"""Edges that a visible and an infrared image share: their direction without its sign, since hot is not bright."""

import cv2
import numpy as np

from iassf_jax.data.images import LUMA_601

_NOISE = 2.0  # of the median gradient: weaker ones count little
_AROUND = 12  # sigmas of the contrast that an edge is measured against


def luma(image: np.ndarray) -> np.ndarray:
    """float32[H, W] of an image of any type, [H, W] or [H, W, 3]; the range stays."""
    image = image if image.ndim == 2 else image @ LUMA_601.astype(np.float32)
    return image.astype(np.float32)


def edge_field(image: np.ndarray, sigma: float, mask: np.ndarray | None = None) -> np.ndarray:
    """Doubled edge directions with a length of 0 (flat) to below 1 (strong for its surroundings).

    Doubling the angle makes an edge from dark to bright equal to one from bright to dark. Dividing by the contrast
    around it makes faint edges in haze count as near ones do, as far as they stand out from the noise.

    Args:
        image: float32[H, W].
        sigma: of the Gaussian before the gradient, in pixels.
        mask: bool[H, W], where the image is known.

    Returns:
        float32[H, W, 2]: length * (cos 2a, sin 2a).
    """
    smooth = cv2.GaussianBlur(image, (0, 0), sigma)
    gx, gy = (cv2.Scharr(smooth, cv2.CV_32F, *order, scale=1 / 32) for order in ((1, 0), (0, 1)))
    squared = gx * gx + gy * gy
    around = cv2.GaussianBlur(squared, (0, 0), _AROUND * sigma)
    floor = np.float32(_NOISE**2 * np.median(squared)) + np.float32(1e-12)
    length = squared / (squared + around + floor)
    scale = length / (squared + np.float32(1e-20))
    field = np.stack([(gx * gx - gy * gy) * scale, 2 * gx * gy * scale], axis=-1)
    border = max(1, round(2 * sigma))
    for edge in (np.s_[:border], np.s_[-border:], np.s_[:, :border], np.s_[:, -border:]):
        field[edge] = 0
    if mask is not None:
        field[cv2.erode(mask.astype(np.uint8), np.ones((2 * border + 1,) * 2)) == 0] = 0
    return field
