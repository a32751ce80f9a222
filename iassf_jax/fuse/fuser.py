"""Dehazing and fusing pairs of images in memory: `iassf_jax.load(...)` gives a `Fuser`."""

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from iassf_jax.align.placing import Placing, prepare_placed
from iassf_jax.data import images
from iassf_jax.data.levels import Percentiles
from iassf_jax.data.notes import Note
from iassf_jax.errors import UserError
from iassf_jax.fuse.network import make_predictor
from iassf_jax.fuse.prepare import Preparation, Prepared, array, prepare_pair, stacked
from iassf_jax.fuse.reading import read_alone, read_pair
from iassf_jax.fuse.strengths import FULL, Strengths
from iassf_jax.fuse.tiling import Tiling
from iassf_jax.models import build_model
from iassf_jax.runtime import use_compilation_cache
from iassf_jax.weights import shipped
from iassf_jax.weights.formats import RELEASE, Weights, read_weights

Image = np.ndarray | str | Path
"""An array, or a file that `iassf_jax.read_image` reads."""


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

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Writes `fused.png`, `dehazed.png` and, where there is a density, `haze.png` (grey, 255 for 1).

        Args:
            folder: is made where it is missing; files of these names are replaced, each as a whole or not at all.

        Returns:
            The files.

        Raises:
            UserError: a folder or disk that refuses, or the result of a batch.
        """
        if self.fused.ndim != 3:
            raise UserError(f"a batch of {len(self.fused)} results has no single image: give lists, and save each one")
        pictures = {"fused": self.fused, "dehazed": self.dehazed}
        if self.haze_density is not None:
            pictures["haze"] = images.in_grey(self.haze_density)
        files = {name: Path(folder) / f"{name}.png" for name in pictures}
        for name, file in files.items():
            images.write_image(file, pictures[name])
        return tuple(files.values())

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
    path = shipped.weights_file(weights) or Path(weights)
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
        result = fuser("hazy.png", "thermal.png")  # or arrays; R, G, B
        result.fused  # uint8 [H, W, 3]
        result.save("results")
    """

    def __init__(self, weights: Weights, tiling: Tiling | None = None) -> None:
        self.weights = weights
        model = build_model(weights.model)
        # The released network's statistics count the padding: of that, no more than its authors have.
        multiple = model.size_multiple if weights.model["name"] == RELEASE["name"] else 0
        self.predictor = make_predictor(model, weights.params, multiple, tiling)

    def __repr__(self) -> str:
        """Which weights, how large, for which haze, and where they run."""
        name = self.weights.source.get("name", self.weights.model["name"])
        about = [f"{sum(x.size for x in jax.tree.leaves(self.weights.params)):,} parameters"]
        if name in shipped.names():
            about.append(f"knows {shipped.card(name)['haze']}")
        return f"Fuser({name}: {'; '.join(about)}; on {jax.devices()[0].device_kind})"

    def __call__(
        self,
        visible: Image | Sequence[Image],
        infrared: Image | Sequence[Image],
        *,
        resize_infrared: bool = False,
        infrared_percentiles: Percentiles = "auto",
        visible_percentiles: Percentiles = "auto",
        infrared_border: str = "drop",
        dehaze_strength: float = 1.0,
        infrared_strength: float = 1.0,
        t0: float | None = None,
        placing: Placing | None = None,
    ) -> Result | list[Result]:
        """Dehazes and fuses one pair, a list of pairs, or a batch.

        Args:
            visible: uint8, uint16, or float in 0..1: [H, W, 3] (R, G, B; OpenCV reads B, G, R), [H, W] or [H, W, 1];
                or the path of an image file; a list of these, of any sizes; or a batch [B, H, W, 3 or 1].
            infrared: the same, aligned with the visible image; three channels become their luma.
            resize_infrared, infrared_percentiles, visible_percentiles, infrared_border: see `Preparation`. What is done
                to an image of its own accord is told as a warning.
            dehaze_strength, infrared_strength, t0: how much haze is taken off, and how much infrared is added; see
                `Strengths`.
            placing: how infrared images lie in visible ones, e.g. `Placing(Rig.read("rig.json"))` of
                `iassf_jax.align`; where there is no infrared, the dehazed image stands. Not of batches.

        Returns:
            A `Result`; for a list a list of them; for a batch one `Result` of arrays that begin with B.

        Raises:
            UserError: says which image is wrong in which way.
        """
        strengths = Strengths(dehaze_strength, infrared_strength, t0)
        how = Preparation(resize_infrared, infrared_percentiles, visible_percentiles, infrared_border)
        if isinstance(visible, list | tuple):
            if not isinstance(infrared, list | tuple) or len(infrared) != len(visible):
                raise UserError(f"{len(visible)} visible images in a list: give a list of as many infrared ones")
            return [self._pair(*pair, how, strengths, placing) for pair in zip(visible, infrared, strict=True)]
        if isinstance(visible, str | Path) or isinstance(infrared, str | Path) or np.ndim(visible) != 4:
            return self._pair(visible, infrared, how, strengths, placing)
        if placing is not None:
            raise UserError("a batch takes no placing: give lists of images")
        visible, infrared = array(visible, "visible"), array(infrared, "infrared")
        if infrared.ndim not in (3, 4) or len(infrared) != len(visible) or len(visible) == 0:
            raise UserError(f"visible has shape {visible.shape} and infrared {infrared.shape}: give equal batches")
        pairs = [prepare_pair(*pair, how) for pair in zip(visible, infrared, strict=True)]
        visible, infrared, borders = stacked(pairs)
        return _result(without_border(self.predictor(visible, infrared, strengths), borders))

    def _pair(
        self, visible: Any, infrared: Any, how: Preparation, strengths: Strengths, placing: Placing | None
    ) -> Result:
        notes: list[Note] = []
        paths = [isinstance(x, str | Path) for x in (visible, infrared)]
        if all(paths):
            visible, infrared = read_pair(str(visible), str(infrared), "same", False, notes)
        elif paths[0]:
            visible = read_alone(str(visible), "visible", notes)
        elif paths[1]:
            infrared = read_alone(str(infrared), "infrared", notes)
        pair = prepare_placed(visible, infrared, how, placing, notes)
        for note in notes:
            warnings.warn(str(note), UserWarning, stacklevel=3)
        return self.fuse_prepared(pair, strengths)

    def fuse_prepared(self, pair: Prepared, strengths: Strengths = FULL) -> Result:
        """A call on one pair as `prepare_pair` gives it, which is not looked at again."""
        out = self.predictor(pair.visible[None], pair.infrared[None], strengths)
        return _result(without_border({name: x[0] for name, x in out.items()}, pair.border))


def without_border(out: dict[str, np.ndarray], border: np.ndarray | None) -> dict[str, np.ndarray]:
    """What a predictor gives, with the dehazed image where the infrared one says nothing (bool, or a share)."""
    if border is None:
        return out
    if border.dtype != bool:
        share = border[..., None]
        mixed = share * out["dehazed"] + (1 - share) * out["fused"]
        return {**out, "fused": np.rint(mixed).astype(np.uint8)}
    return {**out, "fused": np.where(border[..., None], out["dehazed"], out["fused"])}


def _result(out: Mapping[str, np.ndarray]) -> Result:
    weights = {side: out[f"prompt_weights_{side}"] for side in ("ir", "vi") if f"prompt_weights_{side}" in out}
    return Result(out["fused"], out["dehazed"], out.get("haze_density"), weights)
