"""Seeded weights and reference values of the authors' released network.

The values come from running their PyTorch network on a CPU under these weights; they contain image crops that are not
redistributable, so tests read them beside the project and skip without.
"""

import functools
import json
import zlib

import numpy as np

from conftest import TEST_DATA
from iassf_jax.models import build_model
from iassf_jax.models.parameters import abstract_parameters
from iassf_jax.weights.torch_names import from_torch, position_buffers, release_entries

MODEL = build_model({"name": "iassf_release"})


def manifest() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the released state dicts."""
    found = json.loads((TEST_DATA / "release_manifest.json").read_text())
    return {f"{net}.{name}": tuple(shape) for net, names in found.items() for name, shape in names.items()}


@functools.cache
def entries():
    return release_entries(abstract_parameters(MODEL))


def seeded(name: str, shape: tuple[int, ...]) -> np.ndarray:
    z = np.random.default_rng(zlib.crc32(f"a:{name}".encode())).standard_normal(shape)
    if name.endswith("prompt_param"):
        z = 0.5 + 0.2 * z
    elif name.endswith(("norm1.weight", "norm2.weight", "meta1.bias")):
        z = 1 + 0.05 * z
    elif len(shape) == 1 or name.endswith(("norm1.bias", "norm2.bias", "meta1.weight", "meta2.weight")):
        z = 0.05 * z
    else:
        z = 0.5 * z / np.sqrt(np.prod(shape[1:]))
    return z.astype(np.float32)


@functools.cache
def tensors() -> dict[str, np.ndarray]:
    """Every tensor of the state dicts, by name."""
    buffers = position_buffers(entries())
    return {name: buffers[name] if name in buffers else seeded(name, shape) for name, shape in manifest().items()}


def state_dicts() -> dict[str, dict[str, np.ndarray]]:
    """As in the authors' file."""
    return {
        f"{net}_network_state_dict": {n.removeprefix(f"{net}."): x for n, x in tensors().items() if n.startswith(net)}
        for net in ("dehaze", "fusion")
    }


@functools.cache
def parameters():
    names = {entry.name for entry in entries()}
    return from_torch(entries(), {name: x for name, x in tensors().items() if name in names})


def reference(folder, name):
    """A file of reference values: the pair and the clear image in [-1, 1], and the stages in our layout."""
    file = np.load(folder / "release" / f"{name}.npz")
    pair = {key: file[f"{key}_u8"].astype(np.float32)[None] / 255 * 2 - 1 for key in ("hazy", "ir", "gt")}
    stages = {name: file[name].transpose(0, 2, 3, 1) for name in file.files if not name.endswith("_u8")}
    return pair, stages | {"fog": stages["fog"][..., 0]}
