"""Weights as PyTorch files, safetensors files and folders with an Orbax checkpoint: read any, write any."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from iassf_jax.checkpoints import Checkpoints, check_tree, load_config, load_weights, save_config
from iassf_jax.convert.torch_file import read_torch, write_torch
from iassf_jax.convert.torch_names import UNUSED_SHAPES, Entry, from_torch, position_buffers, release_entries, to_torch
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.models import build_model, full_settings
from iassf_jax.training import abstract_parameters

RELEASE = {"name": "iassf_release"}
TORCH_SUFFIXES = (".pth", ".pt")
SAFETENSORS = ".safetensors"
MAX_FILE_BYTES = 2 * 2**30
_NETWORKS = {"dehaze": "dehaze_network_state_dict", "fusion": "fusion_network_state_dict"}
_KEPT_FILE = "kept.safetensors"
_PART = "IASSF_part_"


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network's parameters and what they belong to."""

    model: Mapping[str, Any]
    """The `model` section of a config."""
    params: Any
    """Parameter tree, as of `model.init`."""
    kept: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """Of the released network: tensors by PyTorch's name that it does not use, or that can be computed."""
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Where they come from: file, SHA-256, step or epoch."""

    def summary(self) -> str:
        """One line: which network, how many parameters, from where."""
        count = sum(x.size for x in jax.tree.leaves(self.params))
        origin = ", ".join(f"{name} {value}" for name, value in self.source.items() if name != "sha256")
        kept = f"; {len(self.kept)} tensors that it does not use are kept" if self.kept else ""
        return f"{self.model['name']}, {count:,} parameters ({origin}){kept}"


def read_weights(sources: Sequence[str | Path]) -> Weights:
    """Reads weights of whatever form.

    Args:
        sources: a `.pth` file of the authors (final weights or a training checkpoint), its parts, one of them or their
            folder; a `.safetensors` file; or the folder of a training run or of converted weights.

    Raises:
        UserError: no such file, a file that is damaged or refused, or names and shapes that differ (all are listed).
    """
    paths = [Path(source) for source in sources]
    first = paths[0]
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: is not there: give the folder of a training run, or a .pth or .safetensors file")
    if len(paths) == 1:
        folder = first.parent if first.name.startswith(_PART) else first
        if parts := sorted(folder.glob(f"{_PART}*")):
            return _from_torch_file(parts)
        if first.is_dir():
            return _from_folder(first)
    if len(paths) == 1 and first.suffix == SAFETENSORS:
        return _from_safetensors(first)
    return _from_torch_file(sorted(paths))


def write_weights(weights: Weights, target: str | Path) -> None:
    """Writes weights as a whole or not at all.

    Args:
        weights: of any of our networks.
        target: ends in `.pth` (the released network only), `.safetensors`, or is a folder that does not exist.

    Raises:
        UserError: a network that PyTorch's release does not know, or a target that cannot be written.
    """
    target = Path(target)
    if target.suffix in TORCH_SUFFIXES:
        if weights.model["name"] != RELEASE["name"]:
            raise UserError(f"{target}: PyTorch's release has no such network: write a {SAFETENSORS} file or a folder")
        images.write_bytes(target, write_torch(_state_dicts(weights)))
    elif target.suffix == SAFETENSORS:
        _to_safetensors(weights, target)
    else:
        _to_folder(weights, target)


def _read_bytes(paths: Sequence[Path]) -> bytes:
    try:
        if sum(path.stat().st_size for path in paths) > MAX_FILE_BYTES:
            raise UserError(f"{paths[0]}: is larger than {MAX_FILE_BYTES >> 30} GiB, which no weights of ours are")
        return b"".join(path.read_bytes() for path in paths)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None


def _from_torch_file(paths: Sequence[Path]) -> Weights:
    what = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more parts"
    data = _read_bytes(paths)
    found = read_torch(data, what)
    if not isinstance(found, dict) or not all(isinstance(found.get(title), dict) for title in _NETWORKS.values()):
        held = ", ".join(str(name)[:60] for name in found) if isinstance(found, dict) else type(found).__name__
        raise UserError(
            f"{what}: has no {' and '.join(_NETWORKS.values())}, but {held[:300]}: give the authors' IASSF.pth"
        )
    tensors = {}
    for network, title in _NETWORKS.items():
        for name, x in found[title].items():
            if not isinstance(name, str) or not isinstance(x, np.ndarray):
                raise UserError(f"{what}: {title} holds {str(name)[:60]!r}, which is no tensor: it is refused")
            tensors[f"{network}.{name.removeprefix('module.')}"] = x
    source = {"file": paths[0].name, "sha256": hashlib.sha256(data).hexdigest()}
    if isinstance(found.get("epoch"), int):
        source["epoch"] = found["epoch"]
    return _release_weights(tensors, what, source)


def _release_weights(tensors: Mapping[str, np.ndarray], what: str, source: Mapping[str, Any]) -> Weights:
    model = build_model(RELEASE)
    entries = release_entries(abstract_parameters(model))
    kept = {name: np.zeros(shape, np.float32) for name, shape in UNUSED_SHAPES.items()} | position_buffers(entries)
    try:
        params = from_torch(entries, tensors, kept)
        check_tree(kept, kept | {name: tensors[name] for name in kept if name in tensors}, "the part it does not use")
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    for name, x in position_buffers(entries).items():
        if name in tensors and not np.allclose(tensors[name], x, atol=1e-5):
            raise UserError(f"{what}: {name} is not the table of an 8x8 window: it belongs to another network")
    kept |= {name: np.ascontiguousarray(tensors[name], np.float32) for name in kept if name in tensors}
    return Weights(full_settings(RELEASE), params, kept, source)


def _state_dicts(weights: Weights) -> dict[str, dict[str, np.ndarray]]:
    entries = release_entries(weights.params)
    tensors = _all_tensors(weights, entries)
    return {
        title: {name.removeprefix(f"{network}."): x for name, x in tensors.items() if name.startswith(f"{network}.")}
        for network, title in _NETWORKS.items()
    }


def _all_tensors(weights: Weights, entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """Every tensor that PyTorch's strict loading asks for."""
    kept = {name: np.zeros(shape, np.float32) for name, shape in UNUSED_SHAPES.items()} | position_buffers(entries)
    return kept | dict(weights.kept) | to_torch(entries, weights.params)


def _from_safetensors(path: Path) -> Weights:
    try:
        with safetensors.safe_open(path, "np") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]})") from None
    if "model" not in about:
        return _release_weights(tensors, str(path), {"file": path.name})
    try:
        model, source = json.loads(about["model"]), json.loads(about.get("source", "{}"))
        network = build_model(model)
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: its description of the network is damaged ({error}): download it again") from None
    if model["name"] == RELEASE["name"]:
        return _release_weights(tensors, str(path), source)
    params = unflatten_dict({tuple(name.split(".")): x.astype(np.float32) for name, x in tensors.items()})
    check_tree(abstract_parameters(network), params, str(path))
    return Weights(model, params, source=source)


def _to_safetensors(weights: Weights, path: Path) -> None:
    params = jax.device_get(weights.params)
    if weights.model["name"] == RELEASE["name"]:
        tensors = _all_tensors(weights, release_entries(params))
    else:
        tensors = {".".join(key): np.asarray(x) for key, x in flatten_dict(params).items()}
    about = {"format": "np", "model": json.dumps(dict(weights.model)), "source": json.dumps(dict(weights.source))}
    images.write_bytes(path, _pack(tensors, about))


def _pack(tensors: Mapping[str, np.ndarray], about: Mapping[str, str] | None = None) -> bytes:
    # safetensors writes the memory of an array, whatever its strides.
    return safetensors.numpy.save({name: np.ascontiguousarray(x) for name, x in tensors.items()}, about)


def _from_folder(folder: Path) -> Weights:
    config = load_config(folder)
    model = config.to_dict()["model"]
    network = build_model(model)
    params, step = load_weights(folder, abstract_parameters(network))
    source = {"folder": folder.name, "step": step}
    kept = {}
    if (folder / _KEPT_FILE).exists():
        kept = safetensors.numpy.load_file(folder / _KEPT_FILE)
        source = config.to_dict().get("source", source)
    return Weights(model, jax.device_get(params), kept, source)


def _to_folder(weights: Weights, folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already: choose another folder, or remove it")
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        checkpoints = Checkpoints(scratch)
        try:
            checkpoints.save(int(weights.source.get("step", 0)), {"params": weights.params}, {})
        finally:
            checkpoints.close()
        if weights.kept:
            images.write_bytes(scratch / _KEPT_FILE, _pack(weights.kept))
        save_config(scratch, ConfigDict({"model": dict(weights.model), "source": dict(weights.source)}))
        os.replace(scratch, folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}): choose another folder") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
