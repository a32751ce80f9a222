"""Recover the haze parameters of released hazy images: those of the kind `msrs_release`, see `haze.py`."""

import math
from collections.abc import Callable

import numpy as np

from iassf_jax.data.haze import HazeParams, checked_shape
from iassf_jax.data.images import Array
from iassf_jax.errors import UserError


def _intervals(clear: Array, hazy: Array) -> tuple[Array, Array, Array]:
    """x + y, J and I, once for each (x + y, J) that occurs: the release gives those equal I everywhere."""
    height, width, _ = clear.shape
    sums = np.arange(height)[:, None, None] + np.arange(width)[:, None]
    keys, where = np.unique(sums * 65536 + clear, return_index=True)
    return keys // 65536, (keys % 65536) / np.iinfo(clear.dtype).max, hazy.ravel()[where].astype(np.float64)


def fit_msrs_release(clear: Array, hazy: Array) -> HazeParams:
    """Recovers the parameters of a released hazy image, mostly well enough to reproduce it bit for bit.

    Least squares first; then Gauss-Newton steps on how far each value lies outside [I, I + 1), the interval that
    rounding down leaves open (at its middle, the usual assumption, the fit is biased where few grey levels occur).

    Args:
        clear: uint8 or uint16 `[H, W, 3]`, a full image.
        hazy: the hazy image, of the same type and shape.

    Returns:
        Parameters of the kind `msrs_release`. For an image made otherwise they are merely the nearest: compare
        `apply_haze(clear, params)` with it.

    Raises:
        UserError: types or shapes that do not fit.
    """
    height, width = checked_shape(clear)
    if hazy.dtype != clear.dtype or hazy.shape != clear.shape:
        raise UserError(f"clear is {clear.dtype} {clear.shape}, hazy {hazy.dtype} {hazy.shape}: make them equal")
    sums, clear_values, low = _intervals(clear, hazy)
    wave, root = np.sin(2 * np.pi * sums / (height + width)), math.sqrt(max(height, width))
    half = np.iinfo(clear.dtype).max / 2

    def predict(p: Array) -> tuple[Array, Array]:
        """The value before rounding, and its derivatives by A, beta and q."""
        d = root * (1 + p[2] * wave)
        t = np.exp(-p[1] * d)
        slope = half * (clear_values - p[0]) * t
        value = half + half * (clear_values * t + p[0] * (1 - t))
        return value, np.stack([half * (1 - t), -slope * d, -slope * p[1] * root * wave])

    p = _descend(predict, lambda value: low + 0.5 - value, np.array([0.45, 0.025, 0.5]), steps=10)
    p = _descend(predict, lambda value: np.clip(value, low + 1e-9, low + 1 - 1e-9) - value, p)
    return HazeParams("msrs_release", (float(p[0]),) * 3, float(p[1]), float(p[2]), half_range=True)


def _descend(
    predict: Callable[[Array], tuple[Array, Array]], residual: Callable[[Array], Array], p: Array, steps: int = 60
) -> Array:
    """Levenberg-Marquardt on the squared residual, with A, beta and q kept where they mean something."""
    value, slopes = predict(p)
    rest, damping = residual(value), 1e-4
    for _ in range(steps):
        active = rest != 0
        if not active.any():
            break
        near = slopes[:, active]
        # Damped by all constraints: the few that are violated may say nothing about some direction.
        normal = near @ near.T + damping * active.mean() * (slopes @ slopes.T)
        step = np.linalg.lstsq(normal, near @ rest[active], rcond=None)[0]
        trial = np.clip(p + step, [0, 0, 0], [1, 1, 1])
        trial_value, trial_slopes = predict(trial)
        trial_rest = residual(trial_value)
        if trial_rest @ trial_rest < rest @ rest:
            p, rest, slopes, damping = trial, trial_rest, trial_slopes, max(damping / 4, 1e-9)
        elif damping > 1e6:
            break
        else:
            damping *= 8
    return p
