"""What several metrics filter with. Arrays are [B, H, W] in 0..255; see `precision` for float64."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np


def precision() -> contextlib.AbstractContextManager[None]:
    """Metrics computed inside this context are float64, as their references are; outside of it, float32."""
    return jax.enable_x64(True)


def as_float(x: jax.Array) -> jax.Array:
    """The widest float type that is switched on."""
    return jnp.asarray(x).astype(jnp.result_type(float))


def sobel(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Horizontal and vertical Sobel response of [B, H, W], zero padding: borders see a step to 0."""
    p = jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
    smooth_down = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    smooth_right = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    return smooth_down[:, :, 2:] - smooth_down[:, :, :-2], smooth_right[:, :-2] - smooth_right[:, 2:]


def gaussian(size: int, sigma: float) -> np.ndarray:
    """Gaussian window of `size` pixels, float64, sum 1; its outer product is MATLAB's `fspecial('gaussian')`."""
    at = np.arange(size) - (size - 1) / 2
    window = np.exp(-np.square(at) / (2 * sigma**2))
    return window / window.sum()


def correlate_valid(x: jax.Array, window: np.ndarray) -> jax.Array:
    """Separable correlation of [B, H, W] or [B, H, W, C] with window x window, without borders."""
    for axis in (1, 2):
        size = x.shape[axis] - len(window) + 1
        taps = [jax.lax.slice_in_dim(x, i, i + size, axis=axis) * float(w) for i, w in enumerate(window)]
        x = sum(taps[1:], taps[0])
    return x
