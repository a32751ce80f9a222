"""Networks that draw maps at a working size: images of any size, in little memory.

The image is reduced a band of rows at a time, the network runs once, and images of full size are made from its maps, a
band at a time again. Each step of the last part is a program of its own: as one, XLA computes everything that two
steps share anew in each, and takes ten times as long.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.data.images import check_result
from iassf_jax.fuse.strengths import FULL, Strengths
from iassf_jax.models import brightening, full_size, scattering
from iassf_jax.models.full_size import Grid, Maps
from iassf_jax.models.resampling import Positions, resampling_weights, working_shape
from iassf_jax.models.windows import box_mean
from iassf_jax.runtime import jit_for_device

BAND_PIXELS = 1 << 20
_PROMPTS = ("prompt_weights_ir", "prompt_weights_vi")


@dataclasses.dataclass
class Memory:
    """What a video's next frame is made steady with.

    Attributes:
        maps: of the frames before.
        seen: lumas of the last frame at working size, visible and infrared: float32[2, h, w].
    """

    maps: Maps
    seen: jax.Array


class Small(NamedTuple):
    """A pair at working size: float32[B, h, w, 3] and [B, h, w, 1] in [-1, 1]."""

    visible: jax.Array
    infrared: jax.Array


class MapPredictor:
    """A network with reconstruction "physical" and its weights, jitted, for images of any size."""

    def __init__(self, model: nn.Module, variables: Any) -> None:
        self.model = model
        self.variables = jax.device_put(variables)

    def __call__(self, visible: np.ndarray, infrared: np.ndarray, strengths: Strengths = FULL) -> dict[str, np.ndarray]:
        """Dehazes and fuses a batch of pairs of one size.

        Args:
            visible: uint8|uint16|float[B, H, W, 3], hazy; floats are 0..1.
            infrared: the same types, [B, H, W].
            strengths: how much haze is taken off, and how much infrared is added.

        Returns:
            `dehazed`, `fused`: uint8[B, H, W, 3]; `haze_density`: float32[B, H, W] in [0, 1]; `prompt_weights_ir`,
            `prompt_weights_vi`: float32[B, N], where the network has them.
        """
        maps, prompts = self._drawn(self._reduced(visible, infrared))
        return self._images(maps, visible, infrared, strengths) | prompts

    def steady(
        self,
        visible: np.ndarray,
        infrared: np.ndarray,
        before: Memory | None,
        smoothing: float,
        strengths: Strengths = FULL,
    ) -> tuple[dict[str, np.ndarray], Memory]:
        """A video's next frame (a batch of one): where the scene has not changed, its maps change slowly.

        Haze is physical and does not flicker. What moves takes its own maps at once.
        """
        small = self._reduced(visible, infrared)
        maps, prompts = self._drawn(small)
        seen = _lumas(small)
        if before is not None and before.seen.shape == seen.shape:
            maps = _steadied(before.maps, maps, before.seen, seen, jnp.float32(smoothing))
        return self._images(maps, visible, infrared, strengths) | prompts, Memory(maps, seen)

    def _reduced(self, visible: np.ndarray, infrared: np.ndarray) -> Small:
        height, width = visible.shape[1:3]
        size = working_shape(height, width, self.model.working_size, self.model.size_multiple)
        across = resampling_weights(width, size[1])
        rows = resampling_weights(height, size[0])
        total: Any = None
        for band in _bands(height, width):
            part = _reduced_rows(visible[:, band], infrared[:, band], rows[:, band])
            total = part if total is None else _sum(total, part)
        return _reduced_columns(total, across)

    def _drawn(self, small: Small) -> tuple[Maps, dict[str, jax.Array]]:
        maps, prompts, nan = _draw(self.model, self.variables, small)
        check_result(bool(nan))
        return maps, prompts

    def _images(
        self, maps: Maps, visible: np.ndarray, infrared: np.ndarray, strengths: Strengths
    ) -> dict[str, np.ndarray]:
        shape = visible.shape[:3]
        out = {name: np.empty((*shape, 3), np.uint8) for name in ("dehazed", "fused")}
        out["haze_density"] = np.empty(shape, np.float32)
        whole = full_size.grid(maps, *shape[1:])
        bound = np.float32(self.model.bound if strengths.t0 is None else strengths.t0)
        for band in _bands(*shape[1:], equal=True):
            part = _band_of(whole, band)
            pair = visible[:, band], infrared[:, band]
            t = _transmission(maps, part, *pair)
            dehazed = _dehazed(maps, part, pair[0], t, bound, np.float32(strengths.dehaze))
            toned = _brightening(maps, part, dehazed, pair[1], t, np.float32(strengths.infrared))
            out["dehazed"][:, band] = _levels(dehazed)
            out["fused"][:, band] = _brightened_levels(dehazed, *toned)
            out["haze_density"][:, band] = 1 - np.asarray(t)
        return out


def _bands(height: int, width: int, equal: bool = False) -> Iterator[slice]:
    """Rows of about BAND_PIXELS pixels; `equal`: all of one height, so that the last may overlap the one before."""
    count = max(1, -(-height * width // BAND_PIXELS))
    rows = -(-height // count)
    for start in range(0, height, rows):
        if equal:
            start = min(start, height - rows)
        yield slice(start, min(start + rows, height))


def _band_of(grid: Grid, band: slice) -> Grid:
    return Grid(*((Positions(*(x[band] for x in rows)), columns) for rows, columns in grid))


def _unit(x: jax.Array) -> jax.Array:
    """To float32 in 0..1."""
    return x.astype(jnp.float32) / (jnp.iinfo(x.dtype).max if jnp.issubdtype(x.dtype, jnp.integer) else 1.0)


@jit_for_device
def _reduced_rows(visible: jax.Array, infrared: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    def product(x: jax.Array) -> jax.Array:
        return jnp.einsum("oh,bhwc->bowc", weights, _unit(x), precision="highest")

    return product(visible), product(infrared[..., None])


@jit_for_device
def _sum(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


@jit_for_device
def _reduced_columns(pair: tuple[jax.Array, jax.Array], weights: jax.Array) -> Small:
    return Small(*(2 * jnp.einsum("ow,bhwc->bhoc", weights, x, precision="highest") - 1 for x in pair))


@jit_for_device(static_argnames=("model",))
def _draw(model: nn.Module, variables: Any, small: Small) -> tuple[Maps, dict[str, jax.Array], jax.Array]:
    """The maps, what was chosen of the prompts, and whether there is NaN in the maps."""
    out = model.apply(variables, *small, method="at_working_size")
    nan = jnp.stack([jnp.isnan(x).any() for x in jax.tree.leaves(out["maps"])]).any()
    return out["maps"], {name: out[name] for name in _PROMPTS if name in out}, nan


@jit_for_device
def _lumas(small: Small) -> jax.Array:
    return jnp.concatenate([brightening.luma(small.visible * 0.5 + 0.5), small.infrared[..., 0] * 0.5 + 0.5])


@jit_for_device
def _steadied(before: Maps, own: Maps, seen: jax.Array, now: jax.Array, smoothing: jax.Array) -> Maps:
    """`before`, as much as `smoothing` says and the scene stayed what it was; else `own`."""
    change = box_mean(jnp.abs(now - seen).max(axis=0, keepdims=True), 2, 2)
    share = smoothing * jnp.exp(-jnp.square(change / 0.04))

    def mixed(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
        return b + share * (a - b)

    local = share[..., None]
    small = jax.image.resize(local, (1, *own.gains.shape[1:3], 1), "linear")
    return own._replace(
        transmission=mixed(before.transmission, own.transmission, local),
        airlight=mixed(before.airlight, own.airlight, smoothing * jnp.ones_like(own.airlight)),
        gains=mixed(before.gains, own.gains, small),
    )


@jit_for_device
def _transmission(maps: Maps, grid: Grid, visible: jax.Array, infrared: jax.Array) -> jax.Array:
    return full_size.transmission_at(maps, grid, _unit(visible), _unit(infrared))


@jit_for_device
def _dehazed(
    maps: Maps, grid: Grid, visible: jax.Array, t: jax.Array, bound: jax.Array, strength: jax.Array
) -> jax.Array:
    visible = _unit(visible)
    base = full_size.base_at(maps, grid, visible)
    airlight = full_size.airlight_at(maps, grid)
    return jnp.clip(scattering.dehaze(visible, t, airlight, bound, strength, base), 0, 1)


@jit_for_device
def _brightening(
    maps: Maps, grid: Grid, dehazed: jax.Array, infrared: jax.Array, t: jax.Array, strength: jax.Array
) -> tuple[jax.Array, jax.Array]:
    infrared = _unit(infrared)
    added = full_size.added_by_infrared(maps, grid, infrared)
    return brightening.brightening(dehazed, brightening.wanted_luma(dehazed, infrared, *added, strength), t)


def _in_levels(x: jax.Array) -> jax.Array:
    return jnp.round(255 * jnp.clip(x, 0, 1)).astype(jnp.uint8)


_levels = jit_for_device(_in_levels)


@jit_for_device
def _brightened_levels(image: jax.Array, offset: jax.Array, factor: jax.Array) -> jax.Array:
    return _in_levels(brightening.brighten(image, offset, factor))
