"""Large images in overlapping tiles, with what the network takes from the whole image fixed for all of them.

Plain tiles would each choose their own prompts, channel attention and haze scale, and show seams. Here:

1. An overview no larger than a tile, patches of the image at full resolution side by side, gives a first estimate of
   the global statistics. (A reduced copy gives a worse one: the network sees textures that the image does not have.)
2. A pass of the encoder over the tiles gives the planes from which the haze density is estimated, exactly, for the
   whole image.
3. A pass over the tiles with the estimate fixed measures the statistics again. They are means over pixels, so the mean
   over the tiles is that of the whole image; each such refinement leaves about a fifth of the error.
4. The last pass makes the images; tiles are blended linearly where they overlap.

What remains is what a pixel cannot see beyond the overlap. docs/fuse.md says more.
"""

import contextlib
import dataclasses
import functools
import itertools
import numbers
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.models.whole_image import GLOBALS, Region, counting
from iassf_jax.runtime import jit_for_device

# Tiles begin at multiples of this: the deepest level of either network with its attention windows.
GRID = 32


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How images are cut.

    Attributes:
        max_tile: an image of more than max_tile x max_tile pixels is cut into tiles with sides of at most this; rounded
            down to a multiple of 32. Memory grows with its square.
        overlap: of neighbouring tiles in pixels, rounded up to a multiple of 32.
        refinements: passes that measure the global statistics again; each costs as much as the result itself.

    Raises:
        UserError: settings that leave no tile.
    """

    max_tile: int = 1024
    overlap: int = 64
    refinements: int = 1

    def __post_init__(self) -> None:
        for name in ("max_tile", "overlap", "refinements"):
            if not isinstance(value := getattr(self, name), numbers.Integral):
                raise UserError(f"{name} is {value!r}: use a whole number")
        max_tile, overlap = self.max_tile // GRID * GRID, -(-self.overlap // GRID) * GRID
        if max_tile < 4 * GRID:
            raise UserError(f"max_tile is {self.max_tile}: use {4 * GRID} or more")
        if self.overlap < 0 or overlap > max_tile // 2:
            raise UserError(f"overlap is {self.overlap}: use 0 to {max_tile // 2 // GRID * GRID}, half of max_tile")
        if self.refinements < 0:
            raise UserError(f"refinements is {self.refinements}: use 0 or more")
        object.__setattr__(self, "max_tile", max_tile)
        object.__setattr__(self, "overlap", overlap)

    def fits(self, height: int, width: int) -> bool:
        """Whether an image runs as a whole."""
        return height * width <= self.max_tile**2


@dataclasses.dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels: it reads start ... stop, and answers for core_start ... core_stop."""

    start: int
    stop: int
    core_start: int
    core_stop: int


def spans(size: int, tile: int, overlap: int) -> list[Span]:
    """Cuts a line of `size` pixels, a multiple of 32, into tiles of one length that overlap by `overlap` or more."""
    tile = min(tile, size)
    count = 1 if size == tile else -(-(size - overlap) // (tile - overlap))
    last = size - tile
    starts = sorted({i * last // max(1, count - 1) // GRID * GRID for i in range(count)} | {last})
    middles = [(a + tile + b) // 2 // GRID * GRID for a, b in itertools.pairwise(starts)]
    return [Span(s, s + tile, a, b) for s, a, b in zip(starts, [0, *middles], [*middles, size], strict=True)]


@functools.partial(jit_for_device, static_argnames=("model", "want", "record"))
def run_network(
    model: nn.Module,
    variables: Any,
    known: Any,
    pair: tuple[jax.Array, jax.Array],
    density: jax.Array | None = None,
    region: Region | None = None,
    core: jax.Array | None = None,
    *,
    want: tuple[str, ...],
    record: bool = False,
) -> tuple[dict[str, Any], Any]:
    """Runs a network on a whole image or on a tile.

    Args:
        model: one of `models`.
        variables: its parameters.
        known: global statistics to use; None: those of this input.
        pair: visible and infrared, float[B, H, W, 3] and [B, H, W, 1], -1..1.
        density: float[B, H, W], used instead of the estimated one.
        region: where the pair lies in a larger image.
        core: int32[4], top, bottom, left, right: the part of the pair that its statistics count; None: all.
        want: names of the stages to give back; also "haze_planes". What they do not need is not computed.
        record: give back the statistics of this input.

    Returns:
        The stages by name, and the statistics (None where they are not recorded).
    """
    variables = {**variables, **({} if known is None else {GLOBALS: known})}
    with contextlib.nullcontext() if core is None else counting(pair[0].shape[1], core):
        out = model.apply(variables, *pair, density, region, mutable=[GLOBALS] if record else False)
    out, recorded = out if record else (out, {GLOBALS: None})
    stages = {name: out[name] for name in want if name in out}
    if "haze_planes" in want:
        stages["haze_planes"] = model.haze_planes(out["vi_feature"])
    return stages, recorded[GLOBALS]


@functools.partial(jit_for_device, static_argnames=("model",))
def _haze_of_planes(model: nn.Module, planes: tuple[jax.Array, ...], given: Any) -> tuple[jax.Array, Any]:
    """The haze density by a given scale, or by their own (None); and their own scale."""
    scale = model.haze_scale(planes)
    return model.scaled_haze_density(planes, scale if given is None else given), scale


@dataclasses.dataclass(frozen=True)
class TiledPair:
    """One large pair and the tiles that it is cut into.

    Attributes:
        model: one of `models`.
        variables: its parameters.
        visible: uint8|uint16|float[H, W, 3], H and W multiples of 32.
        infrared: the same, [H, W, 1].
        size: height and width without padding at the bottom and the right.
        tiling: how it is cut.
    """

    model: nn.Module
    variables: Any
    visible: np.ndarray
    infrared: np.ndarray
    size: tuple[int, int]
    tiling: Tiling

    def statistics(self, given: Any = None) -> tuple[Any, np.ndarray | None]:
        """The global statistics of the pair, and its haze density float32[H, W] (None: the network estimates none).

        Args:
            given: other statistics, by which the pair's own are measured and the density is made, as in a whole image.
        """
        if given is not None:
            return self._statistics_by(given)
        known, density = self._overview()
        for _ in range(self.tiling.refinements):
            known, density = self._measured_haze(known, density)
            known = self._refined(known, density)
        return self._measured_haze(known, density)

    def _statistics_by(self, given: Any) -> tuple[Any, np.ndarray | None]:
        density = np.zeros(self.visible.shape[:2], np.float32) if "haze_scale" in given else None
        own, density = self._measured_haze(given, density, by_given_scale=True)
        if self.tiling.refinements:
            return self._refined(own, density), density
        known, _ = self._overview()
        return known if density is None else {**known, "haze_scale": own["haze_scale"]}, density

    def images(self, known: Any, density: np.ndarray | None) -> dict[str, np.ndarray]:
        """`dehazed`, `fused` uint8[H, W, 3] and the prompts' weights, by given `statistics`."""
        names, prompts = ("dehazed", "fused"), ("prompt_weights_ir", "prompt_weights_vi")
        shared: dict[str, np.ndarray] = {}  # of the whole image, so that each tile tells the same
        sums = {name: np.zeros((*self.visible.shape[:2], 3), np.float32) for name in names}
        total = np.zeros((*self.visible.shape[:2], 1), np.float32)
        for tile in self._tiles():
            stages, _ = self._run(tile, known, density, want=(*names, *prompts))
            weight = _blend_weights(tile, self.visible.shape[:2])
            for name in names:
                sums[name][_area(tile)] += np.asarray(stages[name][0]) * weight
            total[_area(tile)] += weight
            shared = {name: np.asarray(stages[name][0]) for name in prompts if name in stages}
        return {name: images.to_uint8(x / total) for name, x in sums.items()} | shared

    def _tiles(self) -> Iterator[tuple[Span, Span]]:
        sides = (spans(n, self.tiling.max_tile, self.tiling.overlap) for n in self.visible.shape[:2])
        return itertools.product(*sides)

    def _run(
        self, tile: tuple[Span, Span], known: Any, density: np.ndarray | None, **options: Any
    ) -> tuple[dict[str, Any], Any]:
        area, (rows, columns) = _area(tile), tile
        pair = tuple(images.to_signed(x[area])[None] for x in (self.visible, self.infrared))
        part = None if density is None else density[area][None]
        region = Region(np.int32(rows.start), np.int32(columns.start), *np.int32(self.size))
        return run_network(self.model, self.variables, known, pair, part, region, **options)

    def _overview(self) -> tuple[Any, np.ndarray | None]:
        pair = tuple(images.to_signed(mosaic(x, self.tiling.max_tile))[None] for x in (self.visible, self.infrared))
        stages, known = run_network(self.model, self.variables, None, pair, want=("haze_density",), record=True)
        return known, np.zeros(self.visible.shape[:2], np.float32) if "haze_density" in stages else None

    def _measured_haze(
        self, known: Any, density: np.ndarray | None, by_given_scale: bool = False
    ) -> tuple[Any, np.ndarray | None]:
        """The haze scale of the whole image, with the other statistics as they are, and the density by that scale, or
        by the one there was."""
        if density is None:
            return known, None
        planes: list[np.ndarray] = []
        for tile in self._tiles():
            stages, _ = self._run(tile, known, density, want=("haze_planes",))
            planes = planes or [np.zeros_like(density) for _ in stages["haze_planes"]]
            for whole, part in zip(planes, stages["haze_planes"], strict=True):
                whole[_core(tile)] = np.asarray(part[0])[_core_in_tile(tile)]
        given = known["haze_scale"] if by_given_scale else None
        estimated, scale = _haze_of_planes(self.model, tuple(x[None] for x in planes), given)
        return {**known, "haze_scale": scale}, np.asarray(estimated[0])

    def _refined(self, known: Any, density: np.ndarray | None) -> Any:
        """The statistics of the whole as the mean over the tiles' own, by the pixels that each answers for."""
        measured, pixels = [], []
        for rows, columns in self._tiles():
            core = [x for span in (rows, columns) for x in (span.core_start - span.start, span.core_stop - span.start)]
            options = {"core": np.int32(core), "want": (), "record": True}
            measured.append(self._run((rows, columns), known, density, **options)[1])
            pixels.append((core[1] - core[0]) * (core[3] - core[2]))
        shares = [n / sum(pixels) for n in pixels]
        means = jax.tree.map(lambda *parts: sum(x * s for x, s in zip(parts, shares, strict=True)), *measured)
        return {**known, **means}


def mosaic(image: np.ndarray, side: int, patches: int = 4) -> np.ndarray:
    """Patches spread over an image, side by side in their order: [H, W, C] -> [h, w, C], h and w at most `side`.

    Along an axis that is longer than `side`, the middles of `patches` equal cells are kept; multiples of 32 if H, W and
    `side` are.
    """
    for axis in (0, 1):
        size = image.shape[axis]
        if size > side:
            count = patches if side >= patches * GRID else 1
            length = side // count // GRID * GRID
            starts = [round((i + 0.5) * size / count - length / 2) for i in range(count)]
            image = np.take(image, np.concatenate([np.arange(s, s + length) for s in starts]), axis=axis)
    return image


def _area(tile: tuple[Span, Span]) -> tuple[slice, slice]:
    return tuple(slice(span.start, span.stop) for span in tile)


def _core(tile: tuple[Span, Span]) -> tuple[slice, slice]:
    return tuple(slice(span.core_start, span.core_stop) for span in tile)


def _core_in_tile(tile: tuple[Span, Span]) -> tuple[slice, slice]:
    return tuple(slice(span.core_start - span.start, span.core_stop - span.start) for span in tile)


def _blend_weights(tile: tuple[Span, Span], size: tuple[int, int]) -> np.ndarray:
    """float32[h, w, 1]: rises from a side that overlaps a neighbour to 1 in the tile's core, in a straight line."""
    sides = []
    for span, n in zip(tile, size, strict=True):
        x = np.arange(span.start, span.stop) + 0.5
        weight = np.ones(span.stop - span.start)
        if span.start > 0:
            weight = np.minimum(weight, (x - span.start) / max(1, 2 * (span.core_start - span.start)))
        if span.stop < n:
            weight = np.minimum(weight, (span.stop - x) / max(1, 2 * (span.stop - span.core_stop)))
        sides.append(weight)
    return (sides[0][:, None, None] * sides[1][None, :, None]).astype(np.float32)
