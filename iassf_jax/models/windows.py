"""Sums, means and minima over windows of an image, differentiable on every device. Everything is in float32."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from iassf_jax.models.borders import mirror_pad


def sliding(x: jax.Array, window: int, axis: int, combine: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """Combines each `window` neighbours along `axis`; the result is window - 1 shorter.

    Doubles the window log2 times: no running sum whose rounding grows with the image, and only element-wise
    operations, so that minimum and sum are differentiable on every device.
    """
    size = x.shape[axis] - window + 1

    def piece(y: jax.Array, start: int, length: int) -> jax.Array:
        return jax.lax.slice_in_dim(y, start, start + length, axis=axis)

    result, covered, power, width = None, 0, x, 1
    while True:
        if window & width:
            part = piece(power, covered, size)
            result = part if result is None else combine(result, part)
            covered += width
        if 2 * width > window:
            return result
        length = power.shape[axis] - width
        power, width = combine(piece(power, 0, length), piece(power, width, length)), 2 * width


def box_sum(x: jax.Array, before: int, after: int, border: str = "symmetric") -> jax.Array:
    """Sum over the window of offsets -before ... +after in both directions; exact for integers.

    Args:
        x: float|int32[B, H, W].
        before, after: window in pixels; may exceed the image, which is then mirrored repeatedly.
        border: "symmetric" repeats the edge pixel (OpenCV's BORDER_REFLECT), "reflect" does not (BORDER_REFLECT_101).
    """
    for axis in (1, 2):
        x = sliding(mirror_pad(x, before, after, axis, border), before + after + 1, axis, jnp.add)
    return x


def box_mean(x: jax.Array, before: int, after: int, border: str = "symmetric") -> jax.Array:
    """Mean over the window of `box_sum`."""
    return box_sum(x, before, after, border) / (before + after + 1) ** 2
