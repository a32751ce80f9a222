"""The coarse place of the infrared image in the visible one: every shift of many scales and turns, by correlation."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft

from iassf_jax.align import warps
from iassf_jax.align.edges import edge_field

SIDE = 160  # of the visible image here
_SIGMA = 1.0
_LEAST_OVERLAP = 0.4  # of the smaller of the two


class Start(NamedTuple):
    """A coarse warp: score, and matrix from visible to infrared pixels, float64[3, 3]."""

    score: float
    matrix: np.ndarray


def starts(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    scales: Sequence[float],
    turns: Sequence[float],
    count: int = 3,
) -> list[Start]:
    """The likeliest warps that bring all pairs together, best first.

    Args:
        pairs: visible and infrared float32[H, W] luma, of one size each.
        scales: sizes of the infrared image against one that fills the visible image's width.
        turns: of the infrared image, in degrees.
        count: how many to give at most.
    """
    visible_size, infrared_size = (x.shape[1::-1] for x in pairs[0])
    small = _fitted(visible_size, SIDE)
    to_small = warps.resizing(visible_size, small)
    shape = [fft.next_fast_len(int(n * 2.1), real=True) for n in small[::-1]]
    spectra = [
        _spectra(edge_field(cv2.resize(v, small, interpolation=cv2.INTER_AREA), _SIGMA), shape) for v, _ in pairs
    ]
    found = []
    for scale in scales:
        for turn in turns:
            size, placing = _placed(infrared_size, small[0] * scale, turn)
            if max(size) > max(shape) - 8 or min(size) < 16:
                continue
            fields = [_turned(i, size, placing) for _, i in pairs]
            surface = _surface(spectra, fields, shape, small, size)
            for score, (dx, dy) in _peaks(surface, 2):
                # visible small pixel x lies at x - d in the turned infrared image.
                matrix = np.linalg.inv(placing) @ warps.shift(-dx, -dy) @ to_small
                found.append(Start(score, matrix))
    return _different(sorted(found, key=lambda start: -start.score), visible_size, count)


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return tuple(max(8, round(n * scale)) for n in size)


def _placed(size: tuple[int, int], width: float, turn: float) -> tuple[tuple[int, int], np.ndarray]:
    """The size of a canvas that holds the turned image, and the matrix from infrared pixels to it."""
    scale = width / size[0]
    angle = np.deg2rad(turn)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    corners = warps.apply(linear, warps.corners(size))
    low, high = corners.min(axis=0), corners.max(axis=0)
    canvas = tuple(int(np.ceil(n)) + 1 for n in high - low)
    return canvas, warps.shift(*-low) @ linear


def _turned(infrared: np.ndarray, size: tuple[int, int], placing: np.ndarray) -> np.ndarray:
    image, mask = warps.warped(infrared, np.linalg.inv(placing), size)
    return edge_field(image, _SIGMA, mask)


def _spectra(field: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Of the two channels, and of the energy."""
    energy = np.square(field).sum(axis=-1)
    return fft.rfft2(np.moveaxis(field, -1, 0), shape), fft.rfft2(energy, shape)


def _surface(
    spectra: Sequence[tuple[np.ndarray, np.ndarray]],
    fields: Sequence[np.ndarray],
    shape: Sequence[int],
    small: tuple[int, int],
    size: tuple[int, int],
) -> np.ndarray:
    """Correlation of each shift d = (dx, dy) of the infrared field, at [dy, dx] (modulo the shape)."""
    product = np.zeros((shape[0], shape[1] // 2 + 1), np.complex64)
    energies = np.zeros((2, *product.shape), np.complex64)
    ones = [fft.rfft2(np.ones(n[::-1], np.float32), shape) for n in (small, size)]
    for (visible, visible_energy), field in zip(spectra, fields, strict=True):
        infrared, infrared_energy = _spectra(field, shape)
        product += (visible * infrared.conj()).sum(axis=0)
        energies[0] += visible_energy * ones[1].conj()
        energies[1] += ones[0] * infrared_energy.conj()
    top, a, b = (fft.irfft2(x, shape) for x in (product, *energies))
    overlap = fft.irfft2(ones[0] * ones[1].conj(), shape)
    enough = overlap > _LEAST_OVERLAP * min(np.prod(small), np.prod(size))
    return np.where(enough, top / np.sqrt(np.maximum(a * b, 1e-6 * a.max() * b.max() + 1e-12)), -1)


def _peaks(surface: np.ndarray, count: int) -> list[tuple[float, tuple[int, int]]]:
    surface = surface.copy()
    found = []
    for _ in range(count):
        y, x = np.unravel_index(np.argmax(surface), surface.shape)
        found.append(
            (
                float(surface[y, x]),
                tuple(int(n - m if n > m // 2 else n) for n, m in ((x, surface.shape[1]), (y, surface.shape[0]))),
            )
        )
        ys, xs = (np.arange(n - 5, n + 6) % m for n, m in ((y, surface.shape[0]), (x, surface.shape[1])))
        surface[np.ix_(ys, xs)] = -1
    return found


def _different(found: Sequence[Start], size: tuple[int, int], count: int) -> list[Start]:
    """Leaves out what lies within 3 % of the image's width of a better one."""
    kept: list[Start] = []
    for start in found:
        if all(warps.corner_distance(start.matrix, other.matrix, size) > 0.03 * size[0] for other in kept):
            kept.append(start)
        if len(kept) == count:
            break
    return kept
