"""Dehazing and fusing pairs of images in memory: `iassf_jax.load(...)` gives a `Fuser`."""

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np

from iassf_jax.align.placing import Placing, blended, placed_pair
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.fuse.network import make_predictor
from iassf_jax.fuse.strengths import FULL, Strengths
from iassf_jax.fuse.tiling import Tiling
from iassf_jax.models import build_model
from iassf_jax.runtime import use_compilation_cache
from iassf_jax.weights import shipped
from iassf_jax.weights.formats import Weights, read_weights

Percentiles = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one pair, or of a batch of pairs (then every shape begins with B).

    Attributes:
        fused: uint8[H, W, 3], R, G, B.
        dehazed: uint8[H, W, 3], R, G, B.
        haze_density: float32[H, W] in 0..1; None where the network estimates none.
        prompt_weights: "ir" and "vi" -> float32[N], how much each learned prompt counts; sum 1.
    """

    fused: np.ndarray
    dehazed: np.ndarray
    haze_density: np.ndarray | None
    prompt_weights: Mapping[str, np.ndarray]

    def __repr__(self) -> str:
        """Shapes, not pixels."""
        density = "none" if self.haze_density is None else self.haze_density.shape
        return f"Result(fused {self.fused.shape}, dehazed {self.dehazed.shape}, haze_density {density})"


def load(
    weights: str | Path = shipped.DEFAULT, *, max_tile: int = 1024, overlap: int = 64, refinements: int = 1
) -> "Fuser":
    """Loads a network.

    Args:
        weights: a name of shipped weights (`weights.shipped.names()`), the folder of a training run, or a file of
            weights (.safetensors, .pth).
        max_tile: images of more than max_tile x max_tile pixels run in tiles with sides of at most this.
        overlap: of the tiles, in pixels.
        refinements: passes over the tiles that measure the image's global statistics; 0 is fastest.

    Returns:
        A jitted `Fuser`. Its programs are kept in `JAX_COMPILATION_CACHE_DIR`, by default `~/.cache/iassf_jax/xla`.

    Raises:
        UserError: no such weights, damaged ones, or tiles that cannot be.
    """
    if not isinstance(weights, str | Path):
        raise UserError(f"weights is {weights!r}: give a name ({', '.join(shipped.names())}), a folder or a file")
    use_compilation_cache()
    tiling = Tiling(max_tile, overlap, refinements)
    found = read_weights([weights])
    about = {"name": str(weights), "sha256": _fingerprint(weights, found.params)}
    return Fuser(dataclasses.replace(found, source={**found.source, **about}), tiling)


def _fingerprint(weights: str | Path, params: Any) -> str:
    """SHA-256 of the file of weights, or of the parameters where they are a folder."""
    path = shipped.weights_file(str(weights)) or Path(weights)
    digest = hashlib.sha256()
    if path.is_file():
        digest.update(path.read_bytes())
    else:
        for name, x in jax.tree_util.tree_leaves_with_path(params):
            digest.update(jax.tree_util.keystr(name).encode() + np.asarray(x).tobytes())
    return digest.hexdigest()


class Fuser:
    """Dehazes and fuses pairs of images of any size.

    Example:
        fuser = iassf_jax.load()
        result = fuser(visible, infrared)
        result.fused  # uint8 [H, W, 3]
    """

    def __init__(self, weights: Weights, tiling: Tiling | None = None) -> None:
        self.weights = weights
        self.predictor = make_predictor(build_model(weights.model), weights.params, pad_multiple=0, tiling=tiling)

    def __call__(
        self,
        visible: np.ndarray | Sequence[np.ndarray],
        infrared: np.ndarray | Sequence[np.ndarray],
        *,
        resize_infrared: bool = False,
        infrared_percentiles: Percentiles | None = None,
        dehaze_strength: float = 1.0,
        infrared_strength: float = 1.0,
        t0: float | None = None,
        placing: Placing | None = None,
    ) -> Result | list[Result]:
        """Dehazes and fuses one pair, a list of pairs, or a batch.

        Args:
            visible: uint8, uint16, or float in 0..1: [H, W, 3] (R, G, B), [H, W] or [H, W, 1]; a list of these, of any
                sizes; or a batch [B, H, W, 3 or 1].
            infrared: the same, aligned with the visible image; three channels become their luma.
            resize_infrared: brings infrared images of another size to that of their visible ones (bilinear; area, where
                they get smaller), which aligns them only if both show the same view.
            infrared_percentiles: (low, high), e.g. (1, 99): stretches each infrared image between these percentiles to
                0..1, for raw thermal data of 14 or 16 bits. Then any numbers pass, of whatever type and range.
            dehaze_strength, infrared_strength, t0: how much haze is taken off, and how much infrared is added; see
                `Strengths`.
            placing: how infrared images lie in visible ones, e.g. `Placing(Rig.read("rig.json"))` of
                `iassf_jax.align`; where there is no infrared, the dehazed image stands.

        Returns:
            A `Result`; for a list a list of them; for a batch one `Result` of arrays that begin with B.

        Raises:
            UserError: says which image is wrong in which way.
        """
        strengths = Strengths(dehaze_strength, infrared_strength, t0)
        options = {"resize_infrared": resize_infrared, "infrared_percentiles": infrared_percentiles}
        if isinstance(visible, list | tuple):
            if not isinstance(infrared, list | tuple) or len(infrared) != len(visible):
                raise UserError(f"{len(visible)} visible images in a list: give a list of as many infrared ones")
            options |= {"dehaze_strength": dehaze_strength, "infrared_strength": infrared_strength, "t0": t0}
            options["placing"] = placing
            return [self(*pair, **options) for pair in zip(visible, infrared, strict=True)]
        if isinstance(visible, str | Path) or isinstance(infrared, str | Path):
            raise UserError("a path is no image: read it first, e.g. iassf_jax.data.images.read_visible(path)")
        visible, infrared = np.asarray(visible), np.asarray(infrared)
        if visible.ndim != 4:
            visible, infrared, weight = placed_pair(visible, infrared, placing)
            return self.fuse_prepared(*prepare_pair(visible, infrared, **options), strengths, weight)
        if placing is not None:
            raise UserError("a batch takes no placing: give lists of images")
        if infrared.ndim not in (3, 4) or len(infrared) != len(visible) or len(visible) == 0:
            raise UserError(f"visible has shape {visible.shape} and infrared {infrared.shape}: give equal batches")
        pairs = [prepare_pair(*pair, **options) for pair in zip(visible, infrared, strict=True)]
        return _result(self.predictor(*(np.stack(side) for side in zip(*pairs, strict=True)), strengths))

    def fuse_prepared(
        self, visible: np.ndarray, infrared: np.ndarray, strengths: Strengths = FULL, weight: np.ndarray | None = None
    ) -> Result:
        """A call on one pair as `prepare_pair` gives it, not looked at again; `weight` as of `placed_pair`."""
        out = {name: x[0] for name, x in self.predictor(visible[None], infrared[None], strengths).items()}
        return _result({**out, "fused": blended(out["fused"], out["dehazed"], weight)})


def prepare_pair(
    visible: np.ndarray,
    infrared: np.ndarray,
    *,
    resize_infrared: bool = False,
    infrared_percentiles: Percentiles | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Brings one pair, as `Fuser` takes it, to visible [H, W, 3] and infrared [H, W].

    Raises:
        UserError: says which image is wrong in which way.
    """
    visible, infrared = _image(visible, "visible"), _image(infrared, "infrared")
    visible = np.repeat(visible, 3, axis=2) if visible.shape[2] == 1 else visible
    infrared = images.one_channel(infrared)
    if infrared.shape != visible.shape[:2]:
        sizes = (
            f"infrared is {infrared.shape[1]} x {infrared.shape[0]}, visible {visible.shape[1]} x {visible.shape[0]}"
        )
        if not resize_infrared:
            raise UserError(f"{sizes}: align them, or resize the infrared image (resize_infrared, --resize-infrared)")
        infrared = _resized(infrared, visible.shape[:2])
    _check_values(visible, "visible")
    if infrared_percentiles is not None:
        return visible, stretch(infrared, infrared_percentiles)
    _check_values(infrared, "infrared")
    _warn_if_raw(infrared)
    return visible, infrared


def _image(x: np.ndarray, what: str) -> np.ndarray:
    """[H, W, 1 or 3]."""
    x = np.asarray(x)
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[2] not in (1, 3):
        more = ": drop its alpha channel" if x.ndim == 3 and x.shape[2] == 4 else ": give [H, W] or [H, W, 3]"
        raise UserError(f"the {what} image has shape {x.shape}{more}")
    if x.size == 0:
        raise UserError(f"the {what} image is empty (shape {x.shape}): check how it was read or cropped")
    return x


def _check_values(x: np.ndarray, what: str) -> None:
    try:
        images.to_float(x)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _resized(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    smaller = size[0] * size[1] < x.size
    kind = x.dtype if x.dtype in (np.uint8, np.uint16) else np.float32
    return cv2.resize(x.astype(kind), size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def check_percentiles(percentiles: Percentiles) -> None:
    """Raises UserError unless they are (low, high) with 0 <= low < high <= 100."""
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise UserError(f"infrared percentiles {low:g}, {high:g}: give 0 <= low < high <= 100, e.g. 1 and 99")


def stretch(infrared: np.ndarray, percentiles: Percentiles) -> np.ndarray:
    """Brings the values between two percentiles of an image to 0..1 and clips the rest: float32, same shape.

    Args:
        infrared: numbers of any type, e.g. counts or temperatures.
        percentiles: (low, high), 0 <= low < high <= 100.

    Raises:
        UserError: other percentiles, or values that are not finite numbers.
    """
    check_percentiles(percentiles)
    if infrared.dtype.kind not in "uif" or not np.isfinite(infrared).all():
        raise UserError("infrared: holds values that are not finite numbers: mend those pixels first")
    x = infrared.astype(np.float64)
    low, high = np.percentile(x, percentiles)
    return np.clip((x - low) / (high - low if high > low else 1.0), 0, 1).astype(np.float32)


def _warn_if_raw(infrared: np.ndarray) -> None:
    """Raw counts fill a small part of 16 bits, and would be taken for a nearly black image."""
    if infrared.dtype == np.uint16 and infrared.max() < 2**14:
        hint = "if it is raw thermal data, stretch it (infrared_percentiles, --infrared-percentiles 1 99)"
        warnings.warn(f"a 16-bit infrared image uses less than a quarter of its range: {hint}", stacklevel=2)


def _result(out: Mapping[str, np.ndarray]) -> Result:
    weights = {side: out[f"prompt_weights_{side}"] for side in ("ir", "vi") if f"prompt_weights_{side}" in out}
    return Result(out["fused"], out["dehazed"], out.get("haze_density"), weights)
