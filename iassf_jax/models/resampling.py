"""Images of any size brought to another: by areas where they get smaller, bilinear where they get larger."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.cache
def _weights(old: int, new: int) -> np.ndarray:
    """float32[new, old], rows of sum 1: how much each old pixel counts in each new one."""
    scale = old / new
    if new < old:
        edges = np.arange(new + 1) * scale
        low, high = edges[:-1, None], edges[1:, None]
        pixels = np.arange(old)[None]
        weights = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, 1)
    else:
        centres = np.clip((np.arange(new) + 0.5) * scale - 0.5, 0, old - 1)
        weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(old)[None]), 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resample(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """float[B, H, W, C] -> float[B, *size, C]; each new pixel is the mean of the area that it covers.

    An axis that gets longer is interpolated between pixel centres. As two matrix products, so that any sizes go
    together, and gradients as fast.
    """
    for axis, new in zip((1, 2), size, strict=True):
        if new != x.shape[axis]:
            weights = jnp.asarray(_weights(x.shape[axis], new), x.dtype)
            x = jnp.einsum("oh,bhwc->bowc" if axis == 1 else "ow,bhwc->bhoc", weights, x, precision="highest")
    return x


def working_shape(height: int, width: int, longest: int, multiple: int) -> tuple[int, int]:
    """The size at which a whole image is seen: its longest side at most about `longest`, both sides multiples."""
    scale = min(1.0, longest / max(height, width))
    return tuple(max(multiple, round(n * scale / multiple) * multiple) for n in (height, width))
