"""Image grids with zoomed boxes (Figs. 3-5 of the paper), small enough to travel inside a page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from iassf_jax.report.inputs import Box, Grid

_TILE = 320  # pixels across, about twice what a page shows of six columns: sharp on dense screens too
_ZOOM = 200
_QUALITY = 88


@dataclass(frozen=True)
class Zoom:
    """A box on a tile, in per cent of its size, and its shape as width over height."""

    left: float
    top: float
    width: float
    height: float
    aspect: float


@dataclass(frozen=True)
class Tile:
    """An image and its zoomed boxes, as data URIs."""

    image: str
    size: tuple[int, int]  # width, height
    zoomed: tuple[str, ...]


@dataclass(frozen=True)
class GridRow:
    """An example of a grid."""

    label: str
    tiles: tuple[Tile, ...]
    zooms: tuple[Zoom, ...]


def grid_rows(grid: Grid) -> list[GridRow]:
    """Cuts, shrinks and encodes a grid's images.

    Args:
        grid: a grid that has been checked.

    Returns:
        Its rows, ready to be set.
    """
    rows = []
    for i, (label, images) in enumerate(zip(grid.labels, grid.rows, strict=True)):
        boxes = grid.boxes[i] if grid.boxes else choose_boxes(images)
        height, width = images[0].shape[:2]
        zooms = tuple(
            Zoom(100 * left / width, 100 * top / height, 100 * wide / width, 100 * tall / height, wide / tall)
            for top, left, tall, wide in boxes
        )
        rows.append(GridRow(label, tuple(_tile(image, boxes) for image in images), zooms))
    return rows


def choose_boxes(images: Sequence[np.ndarray]) -> list[Box]:
    """Chooses where to zoom: where detail is in some of the images and lacks in others.

    Args:
        images: uint8[H, W, 3] or [H, W], of one size.

    Returns:
        Two boxes of a quarter of the height and width that do not overlap, or one where the image is too small.
    """
    details = np.stack([_detail(image) for image in images])
    difference = details.var(axis=0)
    if not difference.any():  # a single column, or equal ones: the most detailed place, then
        difference = details[0]
    height, width = difference.shape
    tall, wide = (min(side, max(8, round(side / 4))) for side in (height, width))
    # Without blur, all boxes that hold the whole of a small thing are as good as each other; so it comes to the middle.
    difference = cv2.GaussianBlur(difference, (0, 0), sigmaX=wide / 5, sigmaY=tall / 5)
    sums = cv2.integral(difference, sdepth=cv2.CV_64F)
    sums = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    boxes: list[Box] = []
    while len(boxes) < 2 and np.isfinite(sums).any():
        top, left = (int(index) for index in np.unravel_index(sums.argmax(), sums.shape))
        boxes.append((top, left, tall, wide))
        sums[max(0, top - tall + 1) : top + tall, max(0, left - wide + 1) : left + wide] = -np.inf
    return boxes


def _detail(image: np.ndarray) -> np.ndarray:
    """Gradient magnitude over its own mean, so that a column of strong contrast does not decide alone."""
    grey = (image if image.ndim == 2 else image.mean(axis=2)).astype(np.float32)
    # Single noisy pixels are no detail worth a look.
    grey = cv2.GaussianBlur(grey, (0, 0), max(0.8, min(grey.shape) / 200))
    across, down = (cv2.Sobel(grey, cv2.CV_32F, dx, 1 - dx) for dx in (1, 0))
    detail = np.hypot(across, down)
    return detail / (detail.mean() + 1e-6)


def _tile(image: np.ndarray, boxes: Sequence[Box]) -> Tile:
    scale = min(1, _TILE / image.shape[1], 2 * _TILE / image.shape[0])
    small = _resize(image, scale)
    crops = (image[top : top + tall, left : left + wide] for top, left, tall, wide in boxes)
    zoomed = tuple(_data_uri(_resize(crop, _ZOOM / max(crop.shape[:2]))) for crop in crops)
    return Tile(_data_uri(small), (small.shape[1], small.shape[0]), zoomed)


def _resize(image: np.ndarray, scale: float) -> np.ndarray:
    size = tuple(max(1, round(scale * side)) for side in image.shape[1::-1])
    if scale == 1:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _data_uri(image: np.ndarray) -> str:
    image = np.ascontiguousarray(image if image.ndim == 2 else image[..., ::-1])
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
