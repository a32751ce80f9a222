"""Names and layouts: which tensor of PyTorch's is which parameter of ours."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict

from iassf_jax.errors import UserError
from iassf_jax.models.release.dehazeformer import relative_positions

Tensors = Mapping[str, np.ndarray]

# Tensors of the released network that its forward pass does not use.
UNUSED = tuple(f"dehaze.{name}" for name in ("w_ir", "w_vi", "ir_scale_conv.weight", "vi_scale_conv.weight"))
UNUSED_SHAPES = dict(zip(UNUSED, ((1,), (1,), (24, 24, 1, 1), (24, 24, 1, 1)), strict=True))

# Kind of parameter -> its layout here and in PyTorch.
_LAYOUTS = {
    "vector": ("c", "c"),
    "conv": ("h w i o", "o i h w"),
    "conv1x1": ("i o", "o i 1 1"),
    "dense": ("i o", "o i"),
    "merge": ("(h w i) o", "o i h w"),
    "split": ("i (h w o)", "(o h w) i 1 1"),
    "split_bias": ("(h w o)", "(o h w)"),
    "norm": ("c", "1 c 1 1"),
    "pool": ("n h w c", "1 n c h w"),
    "temperature": ("c", "c 1 1"),
}
_TWO = {"h": 2, "w": 2}  # sides that a layout with brackets cannot tell

# Beginning of a path here -> the same in PyTorch, per network; then rules for the rest of the name.
_PROMPT = "PromptGenerationAndEmbeddingBlock"
_STAGES = {"encoder1": "enc/0", "encoder2": "enc/1", "encoder3": "enc/2", "decoder3": "dec/0", "decoder2": "dec/1"}
_RELEASE_NAMES = {
    "dehaze": {
        "encoder/": "restormer_encoder/",
        "ir_to_image/": "conv24_3/",
        "prompt_pool/": f"{_PROMPT}/",
        "prompt_conv3x3/": f"{_PROMPT}/conv3x3_gen/",
        "prompt_embedding/attention/": f"{_PROMPT}/attention/",
        "prompt_embedding/conv1x1/": f"{_PROMPT}/conv1x1_embed/",
        "prompt_embedding/conv3x3/": f"{_PROMPT}/conv3x3_embed/",
        "patch_unembed/proj/": "patch_unembed/proj/0/",
    },
    "fusion": {
        "prompt_pool/": "prompt_gen_block/",
        "prompt_conv3x3/": "prompt_gen_block/conv3x3/",
        "prompt_conv1x1/": "prompt_gen_block/adjust_channels/",
        **{f"{ours}_embedding/": f"prompt_in_blocks_{theirs}/" for ours, theirs in _STAGES.items()},
        **{f"{ours}_prompt/": f"prompt_adjust_conv_{theirs}/" for ours, theirs in _STAGES.items()},
    },
}
_RELEASE_RULES = (
    (r"/merge/", "/proj/"),
    (r"/split/", "/proj/0/"),
    (r"\b(blocks|meta|mlp)_(\d)\b", r"\1/\2"),
    (r"/(kernel|scale)$", "/weight"),
)
_RESTORMER_RULES = (
    (r"^(norm\d)/", r"\1/body/"),
    (r"\b(kernel|scale)$", "weight"),
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One parameter: its path here, its name in PyTorch, and how to turn one into the other without loss."""

    path: tuple[str, ...]
    name: str
    kind: str
    shape: tuple[int, ...]

    def to_torch(self, x: np.ndarray) -> np.ndarray:
        """Our array in PyTorch's layout."""
        return self._rearrange(np.asarray(x), *_LAYOUTS[self.kind])

    def to_flax(self, x: np.ndarray) -> np.ndarray:
        """PyTorch's array in our layout."""
        return self._rearrange(np.asarray(x), *reversed(_LAYOUTS[self.kind]))

    @functools.cached_property
    def torch_shape(self) -> tuple[int, ...]:
        """The array's shape in PyTorch."""
        return self.to_torch(np.broadcast_to(np.float32(0), self.shape)).shape

    def _rearrange(self, x: np.ndarray, before: str, after: str) -> np.ndarray:
        sides = _TWO if "(" in before else {}
        return np.ascontiguousarray(rearrange(x, f"{before} -> {after}", **sides))


def _kind(path: tuple[str, ...], ndim: int) -> str:
    *_, owner, leaf = ("", *path)
    if leaf in ("prompt_param", "temperature"):
        return {"prompt_param": "pool"}.get(leaf, leaf)
    if owner in ("merge", "split") and leaf == "kernel":
        return owner
    if owner == "split":
        return "split_bias"
    if ndim == 4:
        return "conv"
    if ndim == 2:
        return "dense" if owner in ("linear_layer", "meta_0", "meta_2") else "conv1x1"
    return "vector"


def release_entries(params: Any) -> list[Entry]:
    """Every parameter of the released network; PyTorch's names begin with "dehaze." or "fusion.".

    Args:
        params: its parameter tree, arrays or shapes.
    """
    entries = []
    for path, x in flatten_dict(params["params"]).items():
        network, *rest = path
        beginnings = tuple((f"^{ours}", theirs) for ours, theirs in _RELEASE_NAMES[network].items())
        name = _rewrite("/".join(rest), beginnings + _RELEASE_RULES)
        kind = "norm" if len(x.shape) == 1 and rest[-2] in ("norm1", "norm2") else _kind(path, len(x.shape))
        entries.append(Entry(("params", *path), f"{network}.{name}", kind, tuple(x.shape)))
    return entries


def restormer_entries(params: Any, prefix: str = "") -> list[Entry]:
    """Every parameter of a `RestormerBlock`, `MDTA` or `GDFN`, with the names of the official Restormer.

    Args:
        params: the module's parameter tree, arrays or shapes.
        prefix: what PyTorch's names begin with, e.g. "encoder_level1.0.".
    """
    return [
        Entry(
            ("params", *path),
            prefix + _rewrite("/".join(path), _RESTORMER_RULES),
            _kind(path, len(x.shape)),
            tuple(x.shape),
        )
        for path, x in flatten_dict(params["params"]).items()
    ]


def _rewrite(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name.replace("/", ".")


def from_torch(entries: Iterable[Entry], tensors: Tensors, extra: Iterable[str] = ()) -> dict[str, Any]:
    """A parameter tree from PyTorch's tensors.

    Args:
        entries: what is needed.
        tensors: by PyTorch's name.
        extra: names that may be there and are not read.

    Returns:
        The tree, float32.

    Raises:
        UserError: lists every missing, unexpected and misshapen name, and every tensor that holds no finite numbers.
    """
    needed = {entry.name: entry for entry in entries}
    problems = [f"missing {name}" for name in sorted(needed.keys() - tensors.keys())]
    problems += [f"unexpected {name[:100]!r}" for name in sorted(tensors.keys() - needed.keys() - set(extra))]
    for name in sorted(needed.keys() & tensors.keys()):
        if problem := tensor_problem(tensors[name], needed[name].torch_shape):
            problems.append(f"{name} {problem}")
    if problems:
        raise UserError(f"the weights do not fit the network ({len(problems)} names): {'; '.join(problems)}")
    return unflatten_dict({e.path: e.to_flax(tensors[e.name].astype(np.float32)) for e in needed.values()})


def tensor_problem(x: np.ndarray, shape: tuple[int, ...]) -> str:
    """What keeps an array from being a parameter of a shape; empty if nothing does."""
    if x.shape != shape:
        return f"has shape {x.shape}, not {shape}"
    if x.dtype.kind != "f" and x.dtype.name != "bfloat16":
        return f"holds {x.dtype}, not floating-point numbers"
    with np.errstate(over="ignore"):
        finite = np.isfinite(x.astype(np.float32)).all()
    return "" if finite else "holds numbers that are not finite"


def to_torch(entries: Iterable[Entry], params: Any) -> dict[str, np.ndarray]:
    """The tensors by PyTorch's name."""
    flat = flatten_dict(jax.device_get(params))
    return {entry.name: entry.to_torch(flat[entry.path]) for entry in entries}


def position_buffers(entries: Iterable[Entry]) -> dict[str, np.ndarray]:
    """The tables of relative positions, which PyTorch's state dicts hold beside the parameters made from them."""
    names = [e.name.removesuffix("meta.0.weight") for e in entries if e.name.endswith(".attn.meta.0.weight")]
    return {f"{name}relative_positions": relative_positions() for name in names}


def official_restormer_block(tensors: Tensors, params: Any, prefix: str = "") -> dict[str, Any]:
    """Official Restormer weights as the parameters of a `RestormerBlock`, `MDTA` or `GDFN` of ours.

    Args:
        tensors: a state dict, see `torch_file.read_torch`; names that do not begin with `prefix` are other blocks'.
        params: the module's parameter tree, arrays or shapes (`jax.eval_shape(module.init, ...)`).
        prefix: of the block's names, e.g. "encoder_level1.0.".

    Returns:
        The parameter tree.

    Raises:
        UserError: names or shapes differ; all are listed.
    """
    own = {name: x for name, x in tensors.items() if name.startswith(prefix)}
    return from_torch(restormer_entries(params, prefix), own)
