"""The released network against values that PyTorch gave for the same weights and images, stage by stage."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from iassf_jax import __version__
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes
from iassf_jax.models import build_model
from iassf_jax.models.release.haze import release_haze_density
from iassf_jax.report.pictures import difference_map
from iassf_jax.weights.formats import RELEASE, read_weights
from iassf_jax.weights.torch_names import tensor_problem

LIMIT = 1e-4
DENSITY_LIMIT = 1e-6
# From the images on, a feature that differs in its last digit may take the estimator's truncation to another of 255
# levels: a level is 4e-3, the dark channel spreads it over 15x15 pixels and the filter may amplify it.
EDGE_LIMIT = 3e-2

# Stage -> name in the file of reference values, name of our output.
STAGES = {
    "encoder": ("vi_feature", "vi_feature"),
    "prompt": ("prompt", "prompt"),
    "haze density": ("fog", "haze_density"),
    "embedded infrared": ("ir_embedded", "ir_embedded"),
    "dehazed": ("dehazed", "dehazed"),
    "infrared image": ("ir_rgb", "ir_rgb"),
    "fused": ("fused", "fused"),
}
_IMAGES = ("hazy_u8", "ir_u8")
_MAX_BYTES = 2**30
_MAX_PIXELS = 2**21
_AFTER_DENSITY = ("haze density", "dehazed", "fused")


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison. Errors are maxima; `relative` is divided by the largest reference value."""

    stage: str
    given: str
    error: float
    relative: float
    limit: float
    above: float
    """Share of the values whose relative error is above 1e-4."""

    @property
    def passed(self) -> bool:
        """Whether the largest relative error is below the limit (NaN is not)."""
        return self.relative < self.limit


@dataclasses.dataclass(frozen=True)
class Report:
    """All comparisons of one run."""

    rows: tuple[Row, ...]
    absent: tuple[str, ...]
    device: str

    @property
    def passed(self) -> bool:
        """Whether every row passed."""
        return all(row.passed for row in self.rows)

    def text(self) -> str:
        """A Markdown table and what it was made on."""
        lines = ["| stage | given | max error | relative | limit | above 1e-4 | |", "|---|---|---|---|---|---|---|"]
        for row in self.rows:
            lines.append(
                f"| {row.stage} | {row.given} | {row.error:.1e} | {row.relative:.1e} | {row.limit:.0e} "
                f"| {100 * row.above:.2g} % | {'pass' if row.passed else 'FAIL'} |"
            )
        lines.append(f"\n{self.device}, float32 products (no TF32), jax {jax.__version__}, iassf_jax {__version__}")
        if self.absent:
            lines.append(f"not in the file, not compared: {', '.join(self.absent)}")
        return "\n".join(lines)


def compare(weights: str | Path, reference: str | Path, output: str | Path | None = None) -> Report:
    """Runs the released network on a file's images and compares every stage.

    "given images" is end to end, and allows for the estimator's rounding edges; "given features" and "given density"
    feed the reference's own values to the next stage, and are strict.

    Args:
        weights: of the released network, in any form that `read_weights` takes.
        reference: `.npz` with `hazy_u8`, `ir_u8` uint8[H, W, 3] and, NCHW float32 with a batch of one, any of
            `vi_feature`, `prompt`, `fog`, `ir_embedded`, `dehazed`, `ir_rgb`, `fused`; see docs/parity.md.
        output: folder for `comparison.json` and `differences.png`; None writes nothing.

    Raises:
        UserError: weights or values that cannot be used.
    """
    values = _read_values(reference)
    loaded = read_weights([weights])
    if loaded.model["name"] != RELEASE["name"]:
        raise UserError(f"{weights}: holds the network {loaded.model['name']!r}: give weights of the authors' release")
    model = build_model({**loaded.model, "dtype": "float32"})
    pair = [images.to_signed(values[name])[None] for name in _IMAGES]
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(model.apply)
        runs: list[tuple[str, Mapping[str, Any]]] = [("images", apply(loaded.params, *pair))]
        if "vi_feature" in values and "fog" in values:
            density = jax.jit(release_haze_density)(values["vi_feature"])
            runs.append(("features", {"haze_density": density}))
        if "fog" in values:
            out = apply(loaded.params, *pair, values["fog"])
            runs.append(("density", {name: out[name] for name in ("dehazed", "fused")}))
    present = {stage: names for stage, names in STAGES.items() if names[0] in values}
    rows, maps = [], {}
    for stage, (theirs, ours) in present.items():
        for given, out in runs:
            if ours not in out:
                continue
            error = np.abs(np.asarray(out[ours], np.float64) - values[theirs])
            size = max(float(np.abs(values[theirs]).max()), 1e-30)
            rows.append(_row(stage, given, error, size))
            maps[f"{stage} ({given})"] = (error / size).reshape(*error.shape[1:3], -1).max(axis=-1)
    report = Report(tuple(rows), tuple(stage for stage in STAGES if stage not in present), jax.devices()[0].device_kind)
    if output is not None:
        images.write_image(Path(output) / "differences.png", difference_map(maps))
        content = {**dataclasses.asdict(report), "passed": report.passed}
        write_bytes(Path(output) / "comparison.json", (json.dumps(content, indent=2) + "\n").encode())
    return report


def _row(stage: str, given: str, error: np.ndarray, size: float) -> Row:
    if given == "features":
        limit = DENSITY_LIMIT
    else:
        limit = EDGE_LIMIT if given == "images" and stage in _AFTER_DENSITY else LIMIT
    above = float((error / size > LIMIT).mean())
    return Row(stage, given, float(error.max()), float(error.max() / size), limit, above)


def _read_values(path: str | Path) -> dict[str, np.ndarray]:
    """The file's arrays in our layout: images as they are, stages as float32[1, H, W(, C)]."""
    try:
        data = io.BytesIO(Path(path).read_bytes())
        with zipfile.ZipFile(data) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise ValueError(f"more than {_MAX_BYTES >> 20} MB of values: use a smaller image")
        with np.load(data, allow_pickle=False) as file:
            known = [name for name in (*_IMAGES, *(names[0] for names in STAGES.values())) if name in file.files]
            values = {name: file[name] for name in known}
    except Exception as error:  # numpy and zipfile raise many kinds on a damaged file
        raise UserError(f"{path}: cannot be read as .npz ({' '.join(str(error).split())[:120]})") from None
    for name in _IMAGES:
        if name not in values or values[name].dtype != np.uint8 or values[name].shape[2:] != (3,):
            raise UserError(f"{path}: needs {name}, uint8[H, W, 3]: see docs/parity.md")
    height, width = values["hazy_u8"].shape[:2]
    if not 0 < height * width <= _MAX_PIXELS:
        raise UserError(f"{path}: hazy_u8 has {height}x{width} pixels: use an image of 1 to {_MAX_PIXELS}")
    if values["ir_u8"].shape != values["hazy_u8"].shape:
        raise UserError(f"{path}: hazy_u8 and ir_u8 have different shapes")
    for name in values.keys() - set(_IMAGES):
        x = values[name]
        channels = {"fog": 1, "dehazed": 3, "ir_rgb": 3, "fused": 3}.get(name, 24)
        if x.shape != (1, channels, height, width) or x.dtype.kind != "f":
            raise UserError(f"{path}: {name} is {x.dtype}{list(x.shape)}, not float[1, {channels}, {height}, {width}]")
        if problem := tensor_problem(x, x.shape):
            raise UserError(f"{path}: {name} {problem}: make the file again")
        x = np.ascontiguousarray(x.astype(np.float32).transpose(0, 2, 3, 1))
        values[name] = x[..., 0] if name == "fog" else x
    if len(values) == 2:
        raise UserError(
            f"{path}: holds no stage to compare: give at least one of {', '.join(n for n, _ in STAGES.values())}"
        )
    return values
