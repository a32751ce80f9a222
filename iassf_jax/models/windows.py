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


def box_sum(
    x: jax.Array, before: int | tuple[int, int], after: int | tuple[int, int], border: str = "symmetric"
) -> jax.Array:
    """Sum over the window of offsets -before ... +after; exact for integers.

    Args:
        x: float|int32[B, H, W].
        before, after: window in pixels, of rows and columns where they are two; may exceed the image, which is then
            mirrored repeatedly.
        border: "symmetric" repeats the edge pixel (OpenCV's BORDER_REFLECT), "reflect" does not (BORDER_REFLECT_101).
    """
    for axis, first, last in zip((1, 2), _both(before), _both(after), strict=True):
        x = sliding(mirror_pad(x, first, last, axis, border), first + last + 1, axis, jnp.add)
    return x


def box_mean(
    x: jax.Array, before: int | tuple[int, int], after: int | tuple[int, int], border: str = "symmetric"
) -> jax.Array:
    """Mean over the window of `box_sum`."""
    rows, columns = (first + last + 1 for first, last in zip(_both(before), _both(after), strict=True))
    return box_sum(x, before, after, border) / (rows * columns)


def _both(n: int | tuple[int, int]) -> tuple[int, int]:
    return n if isinstance(n, tuple) else (n, n)
