"""What a network takes from the whole image: computed, recorded, or given.

Attention between channels, the choice of prompts and the haze's scale follow from every pixel. A tile of a large image
or a frame of a video must not decide them alone. They live in the variable collection `GLOBALS`:

- not there: computed from the input (training, whole images); if it is mutable they are also recorded in it;
- there: used as they are; if it is mutable, what this input alone gives is recorded in their place.

Shapes begin with the batch. Most are means over the pixels, so that those of the whole are the means of those of its
tiles, weighted by the pixels that are counted for each.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.models.fast.plain import is_plain
from iassf_jax.models.layers import resize_bilinear

GLOBALS = "globals"


def of_whole_image(module: nn.Module, name: str, compute: Callable[[], Any]) -> Any:
    """The quantity `name` of a module: given, or else computed."""
    given = module.has_variable(GLOBALS, name)
    value = module.get_variable(GLOBALS, name) if given else None
    record = module.is_mutable_collection(GLOBALS) and not module.is_initializing()
    if record or not given:
        own = compute()
        if record:
            module.put_variable(GLOBALS, name, own)
    return value if given else own


def estimate_haze(network: nn.Module, vi_feature: jax.Array) -> jax.Array:
    """The haze density of a network with `haze_planes`, `haze_scale` and `scaled_haze_density`: float32[B, H, W]."""
    planes = network.haze_planes(vi_feature)
    scale = of_whole_image(network, "haze_scale", lambda: network.haze_scale(planes))
    return network.scaled_haze_density(planes, scale)


_counted: contextvars.ContextVar[tuple[int, jax.Array] | None] = contextvars.ContextVar("counted", default=None)


@contextlib.contextmanager
def counting(height: int, core: jax.Array) -> Iterator[None]:
    """While a network is traced, its means count only part of the pixels.

    Args:
        height: of the network's input, in pixels.
        core: int32[4], the part's top, bottom, left and right in the input (ends exclusive); multiples of the
            network's `size_multiple`.
    """
    token = _counted.set((height, core))
    try:
        yield
    finally:
        _counted.reset(token)


def pixel_shares(height: int, width: int) -> jax.Array | None:
    """float32[height, width] of sum 1: what each pixel of a map counts in a mean; None where all count the same."""
    if (counted := _counted.get()) is None:
        return None
    top, bottom, left, right = counted[1] // (counted[0] // height)
    y, x = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return inside.astype(jnp.float32) / ((bottom - top) * (right - left)).astype(jnp.float32)


def pixel_mean(x: jax.Array) -> jax.Array:
    """Mean over the counted pixels, in float32: [B, H, W, C] -> [B, 1, 1, C]."""
    x = x.astype(jnp.float32)
    shares = pixel_shares(*x.shape[1:3])
    if shares is None and is_plain():
        return x.mean(axis=2, keepdims=True).mean(axis=1, keepdims=True)
    if shares is None:
        return x.mean(axis=(1, 2), keepdims=True)
    return (x * shares[None, :, :, None]).sum(axis=(1, 2), keepdims=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Region:
    """Where a tile lies: its upper left corner, and the size of the whole, in pixels (integers, also traced ones)."""

    top: Any
    left: Any
    height: Any
    width: Any

    def at(self, level: int) -> "Region":
        """The same region of maps that were halved `level` times; every number is a multiple of 2 ** level."""
        return jax.tree.map(lambda n: n // 2**level, self)

    @classmethod
    def whole(cls, x: jax.Array) -> "Region":
        """The whole of a map [B, H, W, C]."""
        return cls(0, 0, x.shape[1], x.shape[2])

    def axes(self) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """(start, whole size) along the height and along the width."""
        return (self.top, self.height), (self.left, self.width)


def _interpolation(position: jax.Array, size: int) -> jax.Array:
    """float32[n, size]: rows of weights that read a line of `size` values at n positions, clamped to its ends."""
    position = jnp.clip(position.astype(jnp.float32), 0, size - 1)
    distance = jnp.abs(position[:, None] - jnp.arange(size, dtype=jnp.float32)[None, :])
    return jnp.maximum(1 - distance, 0)


def _read(x: jax.Array, positions: list[jax.Array]) -> jax.Array:
    for axis, position in zip((1, 2), positions, strict=True):
        weights = _interpolation(position, x.shape[axis]).astype(x.dtype)
        x = jnp.moveaxis(jnp.tensordot(weights, x, (1, axis)), 0, axis)
    return x


def resize_into(x: jax.Array, size: tuple[int, int], region: Region | None) -> jax.Array:
    """The `region` of x's bilinear resize to the whole size: `layers.resize_bilinear`, cut out, half-pixel centres.

    Where the region is None, `size` is the whole.
    """
    if region is None:
        return resize_bilinear(x, size)
    positions = []
    for axis, (start, whole) in zip((1, 2), region.axes(), strict=True):
        i = jnp.arange(size[axis - 1], dtype=jnp.float32) + jnp.asarray(start, jnp.float32)
        positions.append((i + 0.5) * (x.shape[axis] / jnp.asarray(whole, jnp.float32)) - 0.5)
    return _read(x, positions)


def resize_aligned_into(x: jax.Array, size: tuple[int, int], old: Region, new: Region) -> jax.Array:
    """The part `new` of `layers.resize_bilinear_aligned` of a map of which x is the part `old`.

    What lies just outside `old` is replaced by its border.
    """
    positions = []
    for n, (start, whole), (old_start, old_whole) in zip(size, new.axes(), old.axes(), strict=True):
        start, whole, old_start, old_whole = (jnp.asarray(x, jnp.float32) for x in (start, whole, old_start, old_whole))
        scale = (old_whole - 1) / jnp.maximum(whole - 1, 1)
        positions.append((jnp.arange(n, dtype=jnp.float32) + start) * scale - old_start)
    return _read(x, positions)
