"""Networks as files for other programs: StableHLO through `jax.export`, ONNX through jax2onnx.

Either file holds one function with the weights in it, in float32:

    (visible float32[B, H, W, 3], infrared float32[B, H, W, 1]) -> (fused, dehazed, haze_density)

Images are -1..1, fused and dehazed float32[B, H, W, 3] about so, the density float32[B, H, W] 0..1 (the released
network's about so); networks that estimate no haze give the first two. What is written was run once and compared with
the network before.
"""

import contextlib
import dataclasses
import io
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from iassf_jax.data import images
from iassf_jax.data.haze import apply_haze, draw_haze
from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes
from iassf_jax.fuse.tiling import GRID, run_network
from iassf_jax.models import build_model
from iassf_jax.models.fast.plain import plain_operations, portable_operations
from iassf_jax.models.release.network import ReleasedIASSF
from iassf_jax.models.whole_image import Region
from iassf_jax.scenes import SceneSource
from iassf_jax.weights.formats import Weights

OUTPUTS = ("fused", "dehazed", "haze_density")
PLATFORMS = ("cpu", "cuda")
TOLERANCE = 1e-4
# The released network rounds its haze planes to 256 levels: another rounding of the last bit moves a pixel by a level.
LEVELS_TOLERANCE = 4 / 255
SMALLEST_OPEN = 64  # pixels: with open sizes a mirror of 60 pixels must fit
SIZES = (16, 4096)

Function = Callable[[Any, Any], tuple[jax.Array, ...]]


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        size: in bytes.
        shape: of the visible image, with what may be open in it.
        checked: height and width of the pair on which it was compared with the network.
        differences: the largest difference by output.
        given_density: of the released network's images, where it goes by the file's haze density; else empty.
        notes: what this file cannot do, a line each.
    """

    path: Path
    size: int
    shape: str
    checked: tuple[int, int]
    differences: Mapping[str, float]
    given_density: Mapping[str, float]
    notes: tuple[str, ...]

    def text(self) -> str:
        """For people, a few lines."""
        height, width = self.checked
        lines = [
            f"{self.path}: {self.size / 1e6:.1f} MB, visible float32[{self.shape}], -1..1",
            f"largest difference on a pair of {width}x{height}: {_listed(self.differences)}",
        ]
        if self.given_density:
            lines.append(f"with the same haze density: {_listed(self.given_density)}")
        return "\n".join([*lines, *self.notes])


def _listed(differences: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1e}" for name, value in differences.items())


def export_stablehlo(
    weights: Weights,
    path: str | Path,
    size: tuple[int, int] | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> Exported:
    """Writes a network as StableHLO, to be loaded with `jax.export.deserialize` and nothing of ours.

    Args:
        weights: of any of our networks.
        path: of a file that does not exist.
        size: height and width; None leaves them open: multiples of 32, at least 64, which networks with reconstruction
            "physical" cannot. The batch is always open.
        platforms: the program is lowered for each of them; only the one at hand is run and compared.

    Raises:
        UserError: the file exists or cannot be written, a size that cannot be, or a result that is not the network's.
    """
    path, model = _checked_path(path), _float32_model(weights)
    multiple = max(GRID, model.size_multiple)
    fixed = _is_physical(model)
    if size is None:
        if fixed:
            raise UserError("this network reduces whole images by a factor that follows from their size: give --size")
        least = math.ceil(SMALLEST_OPEN / multiple)
        constraints = [f"h >= {least}", f"w >= {least}"]
        shape = jax.export.symbolic_shape(f"b, {multiple}*h, {multiple}*w", constraints=constraints)
        notes = (f"sizes: multiples of {multiple}, {least * multiple} or more; others need --size HEIGHT WIDTH",)
    else:
        shape = jax.export.symbolic_shape(f"b, {_checked_size(size)[0]}, {size[1]}")
        notes = ("this size only" if fixed else "this size only; without --size height and width are open",)
    notes += (f"lowered for {', '.join(platforms)}, jax {jax.__version__} or newer; no gradients",)
    function = jax.jit(_function(model, weights.params, open_size=size is None))
    with portable_operations():  # kernels of one kind of device cannot be in it
        data = jax.export.export(function, platforms=platforms)(*_specs(shape)).serialize()
    notes += _rounding(model)
    tried = size or (least * multiple, (least + 1) * multiple)
    differences = _compare(model, weights.params, jax.export.deserialize(data).call, tried)
    write_bytes(path, data)
    return Exported(path, len(data), ", ".join(map(str, (*shape, 3))), tried, *differences, notes)


def export_onnx(weights: Weights, path: str | Path, height: int, width: int, batch: int = 1) -> Exported:
    """Writes a network as ONNX, inputs `visible` and `infrared`, outputs `OUTPUTS`.

    Args:
        weights: of any of our networks.
        path: of a file that does not exist.
        height, width, batch: the file takes these alone.

    Raises:
        UserError: jax2onnx or onnxruntime is missing, the file exists or cannot be written, a size that cannot be, or
            a result in onnxruntime that is not the network's.
    """
    path, model = _checked_path(path), _float32_model(weights)
    size = _checked_size((height, width))
    if batch < 1:
        raise UserError(f"a batch of {batch}: use 1 or more")
    with _quiet():
        jax2onnx, onnxruntime = _onnx_packages()
        proto = _converted(jax2onnx, model, weights, (batch, *size))
    proto.doc_string = "float32, images in -1..1, R G B, [batch, height, width, channels]; haze_density in 0..1"
    data = proto.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise UserError(f"onnxruntime refuses what jax2onnx made ({_words(error)}): nothing is written") from error

    def call(visible: np.ndarray, infrared: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {"visible": visible, "infrared": infrared})

    differences = _compare(model, weights.params, call, size, batch)
    write_bytes(path, data)
    notes = ("this size and batch only: jax2onnx does not leave them open; no gradients", *_rounding(model))
    return Exported(path, len(data), f"{batch}, {height}, {width}, 3", size, *differences, notes)


def _checked_path(path: str | Path) -> Path:
    if os.path.lexists(path):
        raise UserError(f"{path}: exists already: choose another name, or remove it")
    return Path(path)


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    if not all(SIZES[0] <= n <= SIZES[1] for n in size):
        raise UserError(f"size {size[0]} {size[1]}: give a height and a width of {SIZES[0]}..{SIZES[1]}")
    return size


def _float32_model(weights: Weights) -> nn.Module:
    return build_model({**weights.model, "dtype": "float32"})


def _outputs(model: nn.Module) -> tuple[str, ...]:
    without = getattr(model, "without_hde", False) or getattr(model, "without_ir", False)
    return OUTPUTS[:2] if without and not _is_physical(model) else OUTPUTS


def _is_physical(model: nn.Module) -> bool:
    return getattr(model, "reconstruction", "") == "physical"


def _rounding(model: nn.Module) -> tuple[str, ...]:
    if not isinstance(model, ReleasedIASSF):
        return ()
    return ("its haze estimator rounds to 256 levels: where run times round differently, pixels jump by some levels",)


def _specs(shape: Sequence[Any]) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    return tuple(jax.ShapeDtypeStruct((*shape, channels), jnp.float32) for channels in (3, 1))


def _function(model: nn.Module, params: Any, open_size: bool = False) -> Function:
    """The function of a file. With open sizes positions in the image are computed when it runs, as those of tiles."""

    def iassf(visible: jax.Array, infrared: jax.Array) -> tuple[jax.Array, ...]:
        if _is_physical(model):
            out = model.apply(params, visible, infrared, True, method="through_working_size")
        else:
            out = model.apply(params, visible, infrared, None, Region.whole(visible) if open_size else None)
        return tuple(out[name] for name in _outputs(model))

    return iassf


def _pair(size: tuple[int, int], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """A generated scene in the haze of the authors' test set: float32[B, H, W, 3] and [B, H, W, 1], -1..1."""
    scene = SceneSource(1, 0, *size)[0]
    hazy = apply_haze(scene.visible, draw_haze("msrs_release", np.random.default_rng(0)))
    pair = (images.to_signed(hazy), images.to_signed(scene.infrared)[..., None])
    return tuple(np.repeat(x[None], batch, axis=0) for x in pair)


def _compare(
    model: nn.Module, params: Any, call: Callable, size: tuple[int, int], batch: int = 1
) -> tuple[dict[str, float], dict[str, float]]:
    """The largest differences between a file's function and the network on one pair, as in `Exported`.

    Raises:
        UserError: an image differs by more than `TOLERANCE`. The released network's images are judged with the file's
            haze density given, and that by `LEVELS_TOLERANCE`.
    """
    pair, names = _pair(size, batch), _outputs(model)
    found = dict(zip(names, map(np.asarray, call(*pair)), strict=True))

    def differences(density: np.ndarray | None, want: tuple[str, ...]) -> dict[str, float]:
        if density is None:
            wanted = dict(zip(names, jax.jit(_function(model, params))(*pair), strict=True))
        else:
            wanted, _ = run_network(model, params, None, pair, density, want=want)
        return {name: float(np.abs(found[name] - np.asarray(wanted[name])).max()) for name in want}

    with jax.default_matmul_precision("highest"):  # a GPU's TF32 would differ by more than a file may
        own, given = differences(None, names), {}
        if isinstance(model, ReleasedIASSF):
            given = differences(found["haze_density"], names[:2])
    for name, difference in (own | given).items():
        limit = LEVELS_TOLERANCE if given and name == "haze_density" else TOLERANCE
        if not difference <= limit:
            raise UserError(f"{name} of the file differs by {difference:.1e}, more than {limit:.1e}: it is not written")
    return own, given


def _converted(jax2onnx: Any, model: nn.Module, weights: Weights, shape: tuple[int, int, int]) -> Any:
    """The `onnx.ModelProto` of a network for one batch, height and width."""
    try:
        with plain_operations(), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return jax2onnx.to_onnx(
                _function(model, weights.params),
                _specs(shape),
                model_name=weights.model["name"],
                input_names=["visible", "infrared"],
                output_names=list(_outputs(model)),
            )
    except Exception as error:  # whatever another jax breaks inside it
        help_ = "install the versions of 'iassf-jax[onnx]' in an environment of their own"
        raise UserError(f"jax2onnx fails with jax {jax.__version__} ({_words(error)}): {help_}") from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _onnx_packages() -> tuple[Any, Any]:
    try:
        import jax2onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(f"ONNX needs {error.name}: python -m pip install 'iassf-jax[onnx]', or '.[onnx]'") from None
    return jax2onnx, onnxruntime


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """jax2onnx prints, logs and warns of its own affairs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
