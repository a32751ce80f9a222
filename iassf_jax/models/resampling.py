"""Images of any size brought to another: by areas where they get smaller, bilinear where they get larger."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@functools.lru_cache(64)
def resampling_weights(old: int, new: int) -> np.ndarray:
    """float32[new, old], rows of sum 1: how much each old pixel counts in each new one, by areas or between centres."""
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
            weights = jnp.asarray(resampling_weights(x.shape[axis], new), x.dtype)
            x = jnp.einsum("oh,bhwc->bowc" if axis == 1 else "ow,bhwc->bhoc", weights, x, precision="highest")
    return x


def working_shape(height: int, width: int, longest: int, multiple: int) -> tuple[int, int]:
    """The size at which a whole image is seen: its longest side at most about `longest`, both sides multiples."""
    scale = min(1.0, longest / max(height, width))
    return tuple(max(multiple, round(n * scale / multiple) * multiple) for n in (height, width))


class Positions(NamedTuple):
    """Where the pixels of a row or column lie in a small map: between the cells `low` and low + 1, `share` of the way.

    Attributes:
        low: int32[n].
        share: float32[n], 0..1.
    """

    low: jax.Array
    share: jax.Array


def positions(old: int, new: int) -> Positions:
    """Of `new` pixels over a map of `old` cells, half-pixel centres (NumPy arrays)."""
    place = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.minimum(place.astype(np.int32), max(old - 2, 0))
    return Positions(low, (place - low).astype(np.float32))


def enlarge(x: jax.Array, rows: Positions, columns: Positions) -> jax.Array:
    """Bilinear: a map float32[B, h, w] at given rows and columns, [B, H, W].

    By indices: as matrix products (`jax.image.resize`) a few maps took as long as the network.
    """
    for axis, at in zip((1, 2), (rows, columns), strict=True):
        share = at.share.reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        first, second = (jnp.take(x, at.low + i, axis=axis, mode="clip") for i in (0, 1))
        x = first + (second - first) * share
    return x


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """[B, h, w, factor ** 2 * C] -> [B, factor * h, factor * w, C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, -1)


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """[B, factor * h, factor * w, C] -> [B, h, w, factor ** 2 * C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, -1)
