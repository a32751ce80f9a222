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

from iassf_jax.errors import UserError
from iassf_jax.files import new_folder, write_bytes
from iassf_jax.models import build_model, full_settings
from iassf_jax.models.parameters import abstract_parameters, check_tree
from iassf_jax.train.run_config import load_config, save_config
from iassf_jax.weights import shipped
from iassf_jax.weights.renamed import current_paths, current_settings
from iassf_jax.weights.torch_file import read_torch, write_torch
from iassf_jax.weights.torch_names import (
    UNUSED_SHAPES,
    Entry,
    from_torch,
    position_buffers,
    release_entries,
    tensor_problem,
    to_torch,
)

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
        sources: a name of shipped weights, also where a file or folder has that name (`./NAME`, or a `Path`, is that
            one); a `.pth` file of the authors (final weights or a training checkpoint), its parts, one of them or
            their folder; a `.safetensors` file; or the folder of a training run or of converted weights.

    Raises:
        UserError: no such file, a file that is damaged or refused, or names and shapes that differ (all are listed).
    """
    paths = [Path(source) for source in sources]
    if len(paths) == 1 and (file := shipped.weights_file(sources[0])):
        weights = _from_safetensors(file)
        step = {name: x for name, x in weights.source.items() if name == "step"}  # not the folder of who trained them
        return dataclasses.replace(weights, source={"name": str(sources[0]), **step})
    first = paths[0]
    for path in paths:
        if not _is_there(path):
            known = f"a .pth or .safetensors file, or one of {', '.join(shipped.names())}"
            raise UserError(f"{path}: there is no such file or folder: give the folder of a training run, {known}")
    if len(paths) == 1:
        folder = first.parent if first.name.startswith(_PART) else first
        if parts := sorted(folder.glob(f"{_PART}*")):
            return _from_torch_file(parts)
        if first.is_dir():
            return _from_folder(first)
    if len(paths) == 1 and first.suffix == SAFETENSORS:
        return _from_safetensors(first)
    return _from_torch_file(sorted(paths))


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:
        return False


def write_weights(weights: Weights, target: str | Path, half: bool = False) -> None:
    """Writes weights as a whole or not at all.

    Args:
        weights: of any of our networks.
        target: ends in `.pth` (the released network only), `.safetensors`, or is a folder that does not exist.
        half: stores float16 instead of float32, in a `.safetensors` file only.

    Raises:
        UserError: a network that PyTorch's release does not know, or a target that cannot be written.
    """
    target = Path(target)
    if half and target.suffix != SAFETENSORS:
        raise UserError(f"{target}: half precision goes into a {SAFETENSORS} file only")
    if target.suffix in (SAFETENSORS, *TORCH_SUFFIXES) and weights.model["name"] == RELEASE["name"]:
        own, found = full_settings(RELEASE), full_settings(weights.model)
        if other := [x for x in own if x != "dtype" and found[x] != own[x]]:
            raise UserError(f"{target}: files of the released network hold its own {', '.join(other)}: write a folder")
    _check_target(target, sum(x.nbytes for x in jax.tree.leaves(weights.params)))
    if target.suffix in TORCH_SUFFIXES:
        if weights.model["name"] != RELEASE["name"]:
            raise UserError(f"{target}: PyTorch's release has no such network: write a {SAFETENSORS} file or a folder")
        write_bytes(target, write_torch(_state_dicts(weights)))
    elif target.suffix == SAFETENSORS:
        _to_safetensors(weights, target, half)
    else:
        _to_folder(weights, target)


def _check_target(target: Path, size: int) -> None:
    """Refuses, before anything is written, what is there already and a disk that is too full."""
    try:
        if target.exists() and not (target.is_dir() and target.name and not any(target.iterdir())):
            raise UserError(f"{target}: exists already: choose another name, or remove it")
        parent = target.parent
        parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(parent).free < 2 * size:
            raise UserError(f"{parent}: has less than {2 * size >> 20} MB free: make room, or choose another disk")
        if not os.access(parent, os.W_OK):
            raise UserError(f"{parent}: cannot be written: choose another folder, or change its permissions")
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}): choose another name") from None


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
        held = ", ".join(repr(name)[:60] for name in found) if isinstance(found, dict) else type(found).__name__
        raise UserError(
            f"{what}: has no {' and '.join(_NETWORKS.values())}, but {held[:300]}: give the authors' IASSF.pth"
        )
    tensors = {}
    for network, title in _NETWORKS.items():
        for name, x in found[title].items():
            if not isinstance(name, str) or not isinstance(x, np.ndarray):
                raise UserError(f"{what}: {title} holds {str(name)[:60]!r}, which is no tensor: it is refused")
            short = f"{network}.{name.removeprefix('module.')}"
            if short in tensors:
                raise UserError(f"{what}: {title} holds {name[:60]!r} with and without 'module.': it is refused")
            tensors[short] = x
    source = {"file": paths[0].name, "sha256": hashlib.sha256(data).hexdigest()}
    if isinstance(found.get("epoch"), int):
        source["epoch"] = found["epoch"]
    return _release_weights(tensors, what, source)


def _release_weights(tensors: Mapping[str, np.ndarray], what: str, source: Mapping[str, Any]) -> Weights:
    entries = release_entries(abstract_parameters(build_model(RELEASE)))
    kept = _unused(entries)
    try:
        params = from_torch(entries, tensors, kept)
        kept |= _checked_kept({name: tensors[name] for name in kept if name in tensors}, entries)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    return Weights(full_settings(RELEASE), params, kept, source)


def _unused(entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """Every tensor of PyTorch's that is no parameter of ours, as it is where a file does not say."""
    return {name: np.zeros(shape, np.float32) for name, shape in UNUSED_SHAPES.items()} | position_buffers(entries)


def _checked_kept(found: Mapping[str, np.ndarray], entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    expected = _unused(entries)
    problems = [f"unexpected {name[:60]!r}" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(found.keys() & expected.keys()):
        if problem := tensor_problem(found[name], expected[name].shape):
            problems.append(f"{name} {problem}")
        elif name not in UNUSED_SHAPES and np.abs(found[name].astype(np.float32) - expected[name]).max() > 0.02:
            problems.append(f"{name} is not the table of an 8x8 window")
    if problems:
        raise UserError(f"tensors that it does not use are another network's: {'; '.join(problems)}")
    return {name: np.ascontiguousarray(x, np.float32) for name, x in found.items()}


def _state_dicts(weights: Weights) -> dict[str, dict[str, np.ndarray]]:
    entries = release_entries(weights.params)
    tensors = _all_tensors(weights, entries)
    return {
        title: {name.removeprefix(f"{network}."): x for name, x in tensors.items() if name.startswith(f"{network}.")}
        for network, title in _NETWORKS.items()
    }


def _all_tensors(weights: Weights, entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """Every tensor that PyTorch's strict loading asks for."""
    return _unused(entries) | dict(weights.kept) | to_torch(entries, weights.params)


def _from_safetensors(path: Path) -> Weights:
    tensors, about = _load_tensors(path)
    if "model" not in about:
        return _release_weights(tensors, str(path), {"file": path.name})
    try:
        model, source = json.loads(about["model"]), _checked_source(json.loads(about.get("source", "{}")))
        if not isinstance(model, dict):
            raise ValueError("no dictionary")
    except (ValueError, RecursionError) as error:
        words = " ".join(str(error).split())[:80]
        raise UserError(f"{path}: its description of the network is damaged ({words}): download it again") from None
    model = current_settings(model)
    try:
        network = build_model(model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if model["name"] == RELEASE["name"]:
        weights = _release_weights(tensors, str(path), source)
        return dataclasses.replace(weights, model=full_settings(model))
    expected = flatten_dict(abstract_parameters(network))
    found = current_paths({tuple(name.split(".")): x for name, x in tensors.items()}, expected)
    abstract, tensors = ({".".join(path): x for path, x in tree.items()} for tree in (expected, found))
    check_tree(abstract, tensors, str(path))
    for name, x in tensors.items():
        if problem := tensor_problem(x, abstract[name].shape):
            raise UserError(f"{path}: {name} {problem}")
    params = unflatten_dict({tuple(name.split(".")): x.astype(np.float32) for name, x in tensors.items()})
    return Weights(full_settings(model), params, source=source)


def _by_dots(tree: Any) -> dict[str, Any]:
    return {".".join(key): x for key, x in flatten_dict(tree).items()}


def _load_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safetensors.safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        words = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: cannot be read ({words}): download or convert it again") from None


def _checked_source(source: Any) -> dict[str, Any]:
    """Of a description of unknown origin, what we write into one ourselves."""
    found = {}
    for name in ("file", "folder", "sha256"):
        if isinstance(source, dict) and isinstance(source.get(name), str) and source[name].isprintable():
            found[name] = source[name][:200]
    for name in ("step", "epoch"):
        if isinstance(source, dict) and type(source.get(name)) is int and 0 <= source[name] < 2**31:
            found[name] = source[name]
    return found


def _to_safetensors(weights: Weights, path: Path, half: bool) -> None:
    params = jax.device_get(weights.params)
    if weights.model["name"] == RELEASE["name"]:
        tensors = _all_tensors(weights, release_entries(params))
    else:
        tensors = {name: np.asarray(x) for name, x in _by_dots(params).items()}
    if half:
        for name, x in tensors.items():
            if np.abs(x).max(initial=0) > np.finfo(np.float16).max:
                raise UserError(f"{path}: {name} is too large for half precision: leave --half out")
        tensors = {name: x.astype(np.float16) for name, x in tensors.items()}
    about = {"format": "np", "model": json.dumps(dict(weights.model)), "source": json.dumps(dict(weights.source))}
    write_bytes(path, _pack(tensors, about))


def _pack(tensors: Mapping[str, np.ndarray], about: Mapping[str, str] | None = None) -> bytes:
    # safetensors writes the memory of an array, whatever its strides.
    return safetensors.numpy.save({name: np.ascontiguousarray(x) for name, x in tensors.items()}, about)


def _from_folder(folder: Path) -> Weights:
    from iassf_jax.train.checkpoints import load_weights  # Orbax takes time and memory that a file does not need

    config = load_config(folder).to_dict()
    try:
        network = build_model(config["model"])
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    params, step = load_weights(folder, abstract_parameters(network))
    params = jax.device_get(params)
    kept = {}
    if (folder / _KEPT_FILE).exists():
        try:
            kept = _checked_kept(_load_tensors(folder / _KEPT_FILE)[0], release_entries(params))
        except UserError as error:
            raise UserError(f"{folder / _KEPT_FILE}: {error}") from None
    source = _checked_source(config.get("source")) or {"folder": folder.name, "step": step}
    return Weights(full_settings(config["model"]), params, kept, source)


def _to_folder(weights: Weights, folder: Path) -> None:
    from iassf_jax.train.checkpoints import Checkpoints

    try:
        with new_folder(folder) as scratch:
            checkpoints = Checkpoints(scratch)
            try:
                checkpoints.save(int(weights.source.get("step", 0)), {"params": weights.params}, {})
            finally:
                checkpoints.close()
            if weights.kept:
                write_bytes(scratch / _KEPT_FILE, _pack(weights.kept))
            save_config(scratch, ConfigDict({"model": dict(weights.model), "source": dict(weights.source)}))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}): choose another folder") from None
