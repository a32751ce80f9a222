"""Plane warps as 3x3 matrices, from visible to infrared pixels; a pixel's centre is at whole numbers."""

import cv2
import numpy as np

Size = tuple[int, int]
"""Width, height."""


def shift(dx: float, dy: float) -> np.ndarray:
    """float64[3, 3]."""
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])


def resizing(before: Size, after: Size) -> np.ndarray:
    """What resizing an image does to its pixels' places: float64[3, 3]."""
    sx, sy = (b / a for a, b in zip(before, after, strict=True))
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1.0]])


def corners(size: Size) -> np.ndarray:
    """The centres of an image's corner pixels: float64[4, 2]."""
    w, h = size[0] - 1.0, size[1] - 1.0
    return np.array([[0, 0], [w, 0], [w, h], [0, h]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points float[N, 2] where the matrix brings them."""
    out = np.c_[points, np.ones(len(points))] @ matrix.T
    return out[:, :2] / out[:, 2:]


def corner_distance(a: np.ndarray, b: np.ndarray, size: Size) -> float:
    """How far two warps of a visible image of this size are apart: mean of its corners, in visible pixels."""
    back = apply(np.linalg.inv(b), apply(a, corners(size)))
    return float(np.linalg.norm(back - corners(size), axis=1).mean())


def from_corners(size: Size, points: np.ndarray) -> np.ndarray:
    """The warp that brings an image's corners to four points."""
    return cv2.getPerspectiveTransform(corners(size).astype(np.float32), points.astype(np.float32)).astype(np.float64)


def warped(image: np.ndarray, matrix: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """An infrared image on the visible pixels, and bool[H, W] where it has any; elsewhere its edge is repeated."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image_there = cv2.warpPerspective(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    ones = np.full(image.shape[:2], 255, np.uint8)
    return image_there, cv2.warpPerspective(ones, matrix, size, flags=flags) >= 254
