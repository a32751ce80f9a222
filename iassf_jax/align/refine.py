"""From a coarse warp to one of a fraction of a pixel: Gauss-Newton on edge fields of all pairs together."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from iassf_jax.align import warps
from iassf_jax.align.edges import edge_field

MODELS = ("translation", "affine", "homography")
LEVELS = ((160, 2.0), (320, 2.0), (640, 1.2))
"""Longest side of the visible image, and the Gaussian's sigma there."""
_STEPS = 10
_PIXELS = 150_000  # of all pairs together that a step looks at
_JUDGED = (320, 1.0)
_SHIFTS = (0.03, 0.05)  # of the longest side: further than edges are wide
_LONGEST, _ENOUGH = 6.0, 0.03  # pixels that corners may move in a step; that end the steps


class Level(NamedTuple):
    """One pair at one size: fields float32[H, W, 2] and how these pixels come from the images' own."""

    visible: np.ndarray
    infrared: np.ndarray
    slopes: np.ndarray  # float32[H, W, 4]: of the infrared field, along x and y
    to_visible: np.ndarray
    to_infrared: np.ndarray


def make_level(visible: np.ndarray, infrared: np.ndarray, side: int, sigma: float, ratio: float) -> Level:
    """Of float32[H, W] images; `ratio`: infrared pixels in a visible one."""
    fields, to_small = [], []
    for image, scale in ((visible, 1.0), (infrared, 1 / ratio)):
        size = image.shape[1::-1]
        scale = min(1.0, side / max(visible.shape)) * scale
        small = tuple(max(8, round(n * scale)) for n in size)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        fields.append(edge_field(cv2.resize(image, small, interpolation=method), sigma))
        to_small.append(warps.resizing(size, small))
    slopes = [cv2.sepFilter2D(fields[1], cv2.CV_32F, *kernels) for kernels in _KERNELS]
    return Level(*fields, np.concatenate(slopes, axis=-1), *to_small)


_ONE, _CENTRAL = np.ones(1, np.float32), np.array([-0.5, 0, 0.5], np.float32)
_KERNELS = ((_CENTRAL, _ONE), (_ONE, _CENTRAL))


def basis(model: str) -> np.ndarray:
    """What a model may change of [a, b, c, d, e, f, g, h] in (ax+by+c, dx+ey+f) / (gx+hy+1): float[8, n]."""
    free = {"translation": [2, 5], "affine": range(6), "homography": range(8)}[model]
    return np.eye(8)[:, list(free)]


def refine(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    matrix: np.ndarray,
    model: str,
    levels: Sequence[tuple[int, float]] = LEVELS,
) -> np.ndarray:
    """A better warp near `matrix`.

    Args:
        pairs: visible and infrared float32[H, W] luma, of one size each.
        matrix: from visible to infrared pixels.
        model: of `MODELS`.
        levels: see `LEVELS`.
    """
    size = pairs[0][0].shape[1::-1]
    for side, sigma in levels:
        ratio = scale_of(matrix, size)
        matrix = _at_level([make_level(*pair, side, sigma, ratio) for pair in pairs], matrix, model)
    return matrix / matrix[2, 2]


def judged(pairs: Sequence[tuple[np.ndarray, np.ndarray]], matrix: np.ndarray) -> list["Score"]:
    """How well a warp brings each pair together, beside the same warp shifted."""
    size = pairs[0][0].shape[1::-1]
    scores = []
    for pair in pairs:
        level = make_level(*pair, *_JUDGED, scale_of(matrix, size))
        side = max(size)
        shifts = [np.array([0.0, 0.0])] + [
            side * r * np.array([np.cos(a), np.sin(a)]) for r in _SHIFTS for a in np.arange(12) * np.pi / 6
        ]
        found = [_sums([level], _local(level, matrix @ warps.shift(*d)), 2, slopes=False)[0] for d in shifts]
        scores.append(Score(found[0], found[0] - max(found[1:])))
    return scores


class Score(NamedTuple):
    """Correlation of the edges, -1 to 1, and how far it lies above that of the shifted warps."""

    value: float
    margin: float


def _local(level: Level, matrix: np.ndarray) -> np.ndarray:
    """The warp between centred pixels."""
    before, after = _frames(level)
    local = np.linalg.inv(after) @ matrix @ np.linalg.inv(before)
    return local / local[2, 2]


def _frames(level: Level) -> tuple[np.ndarray, np.ndarray]:
    """Visible pixels to centred ones, and centred ones to infrared pixels."""
    before = _centred(*level.visible.shape[1::-1]) @ level.to_visible
    return before, np.linalg.inv(_centred(*level.infrared.shape[1::-1]) @ level.to_infrared)


def scale_of(matrix: np.ndarray, size: warps.Size) -> float:
    """Infrared pixels in a visible one, at the visible image's middle."""
    return float(np.sqrt(abs(np.linalg.det(_slope(matrix, size)))))


def _slope(matrix: np.ndarray, size: warps.Size) -> np.ndarray:
    """Derivative of the warp at the middle: float64[2, 2]."""
    middle = (np.array(size) - 1) / 2
    around = middle + np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
    a = warps.apply(matrix, around)
    return np.stack([a[0] - a[1], a[2] - a[3]], axis=1)


def turn_of(matrix: np.ndarray, size: warps.Size) -> float:
    """How far the warp turns directions at the middle, in radians."""
    s = _slope(matrix, size)
    return float(np.arctan2(s[1, 0] - s[0, 1], s[0, 0] + s[1, 1]))


def _at_level(levels: Sequence[Level], matrix: np.ndarray, model: str) -> np.ndarray:
    first = levels[0]
    size = first.visible.shape[1::-1]
    before, after = _frames(first)
    local = _local(first, matrix)
    stride = max(1, round(np.sqrt(len(levels) * size[0] * size[1] / _PIXELS)))
    free, ends, unit = basis(model), np.array([[-1, -1], [1, -1], [1, 1], [-1, 1.0]]), max(size) / 2
    sums, damping = _sums(levels, local, stride), 1e-3
    for _ in range(_STEPS):
        score, alpha, jtj, jtr = sums
        a = free.T @ jtj @ free
        step = free @ np.linalg.solve(a + damping * np.diag(np.diag(a) + 1e-6), free.T @ jtr) / max(alpha, 0.05)
        step = np.append(step, 0).reshape(3, 3)
        moved = unit * np.abs(warps.apply(local + step, ends) - warps.apply(local, ends)).max()
        new = local + step * min(1.0, _LONGEST / max(moved, 1e-9))
        found = _sums(levels, new, stride)
        if found[0] > score:
            local, sums, damping = new, found, max(damping / 5, 1e-4)
            if moved < _ENOUGH:
                break
        elif damping > 10 or moved < _ENOUGH:
            break
        else:
            damping = max(damping * 10, 1e-2)
    return after @ local @ before


def _centred(w: int, h: int) -> np.ndarray:
    """Pixels to about -1..1."""
    s = 2 / max(w, h)
    return np.array([[s, 0, -s * (w - 1) / 2], [0, s, -s * (h - 1) / 2], [0, 0, 1.0]])


def _sums(
    levels: Sequence[Level], m: np.ndarray, stride: int, slopes: bool = True
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Of the warp `m` of centred pixels: correlation, its regression coefficient, and (`slopes`) the normal equations.

    Returns:
        score, alpha, float64[8, 8], float64[8]: a step of the first 8 numbers of `m` is the solution over alpha.
    """
    u, v, z, x, y, k = _places(levels[0], m, stride)
    inside = (u >= 1) & (v >= 1) & (u <= levels[0].infrared.shape[1] - 2) & (v <= levels[0].infrared.shape[0] - 2)
    if inside.sum() < 100:
        return -1.0, 1.0, np.eye(8), np.zeros(8)
    u, v, z, x, y = (q[inside][:, None] for q in (u, v, z, x, y))
    w_infrared, h_infrared = levels[0].infrared.shape[1::-1]
    d = np.concatenate([x * z, y * z, z], axis=1) / np.float32(k)
    back = np.concatenate([(u - (w_infrared - 1) / 2) * k, (v - (h_infrared - 1) / 2) * k], axis=1)
    turn = _turning(levels[0], m)
    top = energy = whole = 0.0
    jtj, jtr = np.zeros((8, 8)), np.zeros((2, 8))
    for level in levels:
        seen = level.visible[::stride, ::stride][inside]
        field = _sampled(level.infrared, u, v) @ turn
        top += float((field * seen).sum())
        energy += float((field * field).sum())
        whole += float((seen * seen).sum())
        if not slopes:
            continue
        rates = _sampled(level.slopes, u, v)
        along = (rates[:, :2] @ turn, rates[:, 2:] @ turn)
        for channel in range(2):
            px, py = (q[:, channel, None] for q in along)
            j = np.concatenate([px * d, py * d, -(px * back[:, :1] + py * back[:, 1:]) * d[:, :2]], axis=1)
            jtj += j.T @ j
            jtr += np.stack([seen[:, channel] @ j, field[:, channel] @ j])
    alpha = top / max(energy, 1e-9)
    return top / np.sqrt(max(energy * whole, 1e-12)), alpha, jtj, jtr[0] - alpha * jtr[1]


def _places(level: Level, m: np.ndarray, stride: int) -> tuple[np.ndarray, ...]:
    """Infrared pixels u, v, the division z, and the centred visible x, y, of a grid; a centred unit in pixels."""
    h, w = level.visible.shape[:2]
    to, back = _centred(w, h), np.linalg.inv(_centred(*level.infrared.shape[1::-1]))
    x, y = np.meshgrid(np.arange(0, w, stride, dtype=np.float32), np.arange(0, h, stride, dtype=np.float32))
    x, y = (np.float32(to[0, 0]) * x + np.float32(to[0, 2]), np.float32(to[1, 1]) * y + np.float32(to[1, 2]))
    m = m.astype(np.float32)
    z = 1 / (m[2, 0] * x + m[2, 1] * y + m[2, 2])
    u, v = ((row[0] * x + row[1] * y + row[2]) * z for row in m[:2])
    return (
        np.float32(back[0, 0]) * u + np.float32(back[0, 2]),
        np.float32(back[1, 1]) * v + np.float32(back[1, 2]),
        z,
        x,
        y,
        1 / back[0, 0],
    )


def _sampled(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """[N, C] at the places [N, 1]; in rows that OpenCV can hold."""
    n = len(u)
    pad = -n % 1024
    maps = [np.pad(q[:, 0], (0, pad)).reshape(-1, 1024) for q in (u, v)]
    return cv2.remap(image, *maps, cv2.INTER_LINEAR).reshape(n + pad, -1)[:n]


def _turning(level: Level, m: np.ndarray) -> np.ndarray:
    """Turns infrared fields, as rows, to visible directions: float32[2, 2]."""
    h, w = level.visible.shape[:2]
    matrix = np.linalg.inv(_centred(*level.infrared.shape[1::-1])) @ m @ _centred(w, h)
    angle = 2 * turn_of(matrix, (w, h))
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]], np.float32)
