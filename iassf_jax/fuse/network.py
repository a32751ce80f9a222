"""Running a trained network on batches of images of any size."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.fuse.maps import MapPredictor
from iassf_jax.fuse.strengths import FULL, Strengths
from iassf_jax.fuse.tiling import GRID, TiledPair, Tiling, run_network
from iassf_jax.models.whole_image import Region

STAGES = ("dehazed", "fused", "haze_density", "prompt_weights_ir", "prompt_weights_vi")


def images_to_uint8(x: jax.Array) -> jax.Array:
    """[-1, 1] to uint8 with clipping and rounding, as `data.images.to_uint8` on the device; NaN is refused."""
    images.check_result(bool(jnp.isnan(x).any()))
    return jnp.round(255.0 * (jnp.clip(x, -1.0, 1.0) * 0.5 + 0.5)).astype(jnp.uint8)


def next_multiple(size: int, multiple: int = GRID) -> int:
    """The smallest multiple that is not below `size`."""
    return -(-size // multiple) * multiple


def next_bucket(size: int) -> int:
    """The next of 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, ...: few, at most a third more."""
    step = GRID
    while size > 6 * step:
        step *= 2
    return next_multiple(size, step)


def make_predictor(
    model: nn.Module, variables: Any, pad_multiple: int = GRID, tiling: Tiling | None = None
) -> "Predictor | MapPredictor":
    """What runs a network on images of any size; see `Predictor` for the arguments."""
    if getattr(model, "reconstruction", "") == "physical":
        return MapPredictor(model, variables)
    return Predictor(model, variables, pad_multiple, tiling)


class Predictor:
    """A network that sees images at their full size, and its weights, jitted.

    Images are mirror-padded at the right and the bottom to multiples of `pad_multiple` (0: to a bucket), so that images
    of many sizes share few compiled programs; the results are cropped. The learned prompts lie as they would without
    the padding; the network's other global statistics see it.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: Any,
        pad_multiple: int = GRID,
        tiling: Tiling | None = None,
    ) -> None:
        """Puts the weights on the device.

        Args:
            model: one of `models`.
            variables: its parameters.
            pad_multiple: heights and widths are padded to multiples of this; 0: to the `next_bucket`.
            tiling: how larger images are cut; None: every image runs as a whole.
        """
        self.model = model
        self.variables = jax.device_put(variables)
        self.padded = functools.partial(next_multiple, multiple=pad_multiple) if pad_multiple else next_bucket
        self.tiling = tiling

    def __call__(self, visible: np.ndarray, infrared: np.ndarray, strengths: Strengths = FULL) -> dict[str, np.ndarray]:
        """Dehazes and fuses a batch of pairs of one size.

        Args:
            visible: uint8|uint16|float[B, H, W, 3], hazy; floats are 0..1.
            infrared: the same types, [B, H, W].
            strengths: how much of what the network changes is kept.

        Returns:
            `dehazed`, `fused`: uint8[B, H, W, 3]; `haze_density`: float32[B, H, W] in [0, 1], and `prompt_weights_ir`,
            `prompt_weights_vi`: float32[B, N], where the network has them.
        """
        return _weakened(self.with_statistics(visible, infrared)[0], visible, strengths)

    def steady(
        self,
        visible: np.ndarray,
        infrared: np.ndarray,
        before: Any,
        smoothing: float,
        strengths: Strengths = FULL,
    ) -> tuple[dict[str, np.ndarray], Any]:
        """A video's next frame (a batch of one), by the running mean of the statistics of the frames before it."""
        known = before if smoothing else None
        out, own = self.with_statistics(visible, infrared, known, record=True)
        mean = own if known is None else _mixed(known, own, np.float32(smoothing))
        return _weakened(out, visible, strengths), mean

    def with_statistics(
        self, visible: np.ndarray, infrared: np.ndarray, known: Any = None, record: bool = False
    ) -> tuple[dict[str, np.ndarray], Any]:
        """As a call on one pair, with `known` global statistics instead of its own; gives those back if `record`."""
        if self.tiling and not self.tiling.fits(*visible.shape[1:3]):
            return self._tiled(visible, infrared, known)
        height, width = visible.shape[1:3]
        pad = ((0, 0), (0, self.padded(height) - height), (0, self.padded(width) - width), (0, 0))
        pair = (images.to_signed(visible), images.to_signed(infrared)[..., None])
        region = None
        if np.any(pad):
            pair = tuple(np.pad(x, pad, mode="symmetric") for x in pair)
            region = Region(np.int32(0), np.int32(0), np.int32(height), np.int32(width))
        stages, own = run_network(self.model, self.variables, known, pair, region=region, want=STAGES, record=record)
        for name in ("dehazed", "fused"):
            stages[name] = images_to_uint8(stages[name])
        if "haze_density" in stages:  # the released network's leaves the range a little
            stages["haze_density"] = np.clip(stages["haze_density"], 0, 1)
        return {
            name: np.asarray(x)[:, :height, :width] if x.ndim > 2 else np.asarray(x) for name, x in stages.items()
        }, own

    def _tiled(self, visible: np.ndarray, infrared: np.ndarray, known: Any) -> tuple[dict[str, np.ndarray], Any]:
        results, statistics = [], []
        height, width = visible.shape[1:3]
        pad = ((0, next_multiple(height) - height), (0, next_multiple(width) - width), (0, 0))
        for one_visible, one_infrared in zip(visible, infrared[..., None], strict=True):
            pair = (np.pad(x, pad, mode="symmetric") for x in (one_visible, one_infrared))
            tiled = TiledPair(self.model, self.variables, *pair, (height, width), self.tiling)
            own, density = tiled.statistics(known)
            out = tiled.images(own if known is None else known, density)
            out |= {} if density is None else {"haze_density": np.clip(density, 0, 1)}
            results.append({name: x[:height, :width] if x.ndim > 1 else x for name, x in out.items()})
            statistics.append(own)
        batch = {name: np.stack([result[name] for result in results]) for name in results[0]}
        return batch, statistics[0] if len(statistics) == 1 else None


@jax.jit
def _mixed(known: Any, own: Any, share: jax.Array) -> Any:
    return jax.tree.map(lambda a, b: share * a + (1 - share) * b, known, own)


def _weakened(out: dict[str, np.ndarray], visible: np.ndarray, strengths: Strengths) -> dict[str, np.ndarray]:
    """Between the hazy and the dehazed image, and between that and the fused one."""
    if strengths.t0 is not None:
        raise UserError("t0 is of networks with reconstruction 'physical': leave it out, or use other weights")
    if (strengths.dehaze, strengths.infrared) == (1, 1):
        return out
    hazy, dehazed, fused = (255 * images.to_float(x) for x in (visible, out["dehazed"], out["fused"]))
    added = np.float32(strengths.infrared) * (fused - dehazed)
    dehazed = hazy + np.float32(strengths.dehaze) * (dehazed - hazy)
    levels = {
        name: np.rint(np.clip(x, 0, 255)).astype(np.uint8)
        for name, x in (("dehazed", dehazed), ("fused", dehazed + added))
    }
    return {**out, **levels}
