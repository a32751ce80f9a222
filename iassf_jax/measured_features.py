"""What a frozen network makes of many hazy images, as far as a `GlobalModulation` of its features needs it.

A train step runs the whole network for every image. Here it runs once for each, and of its features is kept what the
last convolution makes of every channel, at one pixel in each cell of a grid: from that the dehazed image there follows
for any modulation, and thousands of steps take minutes.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from ml_collections import ConfigDict
from tqdm import tqdm

from iassf_jax.data import images, pipeline
from iassf_jax.errors import UserError
from iassf_jax.models import build_model
from iassf_jax.models.modulation import GlobalModulation
from iassf_jax.models.restoration import soft_image
from iassf_jax.runtime import jit_for_device
from iassf_jax.weights.formats import Weights

GRID = (60, 80)
"""Cells along the height and the width of an image, whatever its size."""
PIECE = 50
"""Images in a file of measurements: what a stopped run may lose."""
BATCH = 2
"""Images that the network runs at once, where there are so many."""

Measured = dict[str, np.ndarray]
"""float16: `terms` [N, *GRID, C, outputs], each channel's part of the last layer; `hazy`, `clear` [N, *GRID, 3]."""


@functools.partial(jit_for_device, static_argnames=("model",))
def _restored(params: Any, hazy: jax.Array, infrared: jax.Array, *, model: nn.Module) -> jax.Array:
    return model.apply(params, hazy, infrared)["restored"]


def measure(weights: Weights, batch: Mapping[str, np.ndarray], rng: np.random.Generator) -> Measured:
    """Runs the frozen network for a batch of the pipeline and keeps one pixel in each cell of `GRID`.

    Where in its cell is drawn for each image: upsampling leaves a lattice in the features, and pixels at one phase of
    it would teach what is right at that phase alone.
    """
    features = np.asarray(_restored(weights.params, batch["hazy"], batch["infrared"], model=build_model(weights.model)))
    kernel = np.asarray(last_convolution(weights)["kernel"], np.float32)
    taps = [(a, b) for a in range(3) for b in range(3)]
    kept = []
    for x, hazy, clear in zip(features, batch["hazy"], batch["clear"], strict=True):
        rows, columns = (_one_in_each_cell(n, cells, rng) for n, cells in zip(x.shape[:2], GRID, strict=True))
        terms = sum(x[np.ix_(rows + a - 1, columns + b - 1)][..., None] * kernel[a, b] for a, b in taps)
        at = np.ix_(rows, columns)
        kept.append({"terms": terms, "hazy": hazy[at], "clear": clear[at]})
    return {name: np.stack([image[name] for image in kept]).astype(np.float16) for name in kept[0]}


def _one_in_each_cell(size: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Indices along an axis, the same place in every cell; not the outermost, which `steady_border` replaces."""
    return np.clip((np.arange(cells) + rng.random()) * size / cells, 4, size - 5).astype(int)


def last_convolution(weights: Weights) -> Mapping[str, Any]:
    """Parameters of the convolution to the dehazed image: `kernel` [3, 3, C, outputs], `bias` [outputs]."""
    return weights.params["params"]["ia_frm"]["to_image"]


def dehazed(modulations: Sequence[Any], convolution: Mapping[str, Any], measured: Mapping[str, Any]) -> list[jax.Array]:
    """The dehazed image at the measured pixels, without modulation and after each.

    Args:
        modulations: parameters of `GlobalModulation`s.
        convolution: the network's `last_convolution`.
        measured: of B images.

    Returns:
        float32[B, *GRID, 3] in about [-1, 1], one more than modulations.
    """
    terms, hazy = (jnp.asarray(measured[name], jnp.float32) for name in ("terms", "hazy"))
    kernel = jnp.asarray(convolution["kernel"], jnp.float32).sum(axis=(0, 1))
    bias = jnp.asarray(convolution["bias"], jnp.float32).reshape(1, 1, 1, -1)

    def image(scale: jax.Array, shift: jax.Array) -> jax.Array:
        outputs = jnp.einsum("bhwco,bhwc->bhwo", terms, scale) + shift @ kernel + bias
        return soft_image(hazy, outputs) if outputs.shape[-1] == 4 else outputs

    # A modulation is affine in the features, and so smooth that all nine taps of a pixel have the same.
    shift = jnp.zeros(terms.shape[:-1])
    scale = shift + 1
    found = [image(scale, shift)]
    for parameters in modulations:
        modulate = functools.partial(GlobalModulation().apply, {"params": parameters}, hazy=hazy, dehazed=found[-1])
        shift, both = modulate(shift), modulate(scale + shift)
        scale = both - shift
        found.append(image(scale, shift))
    return found


def measurements(
    data: ConfigDict, seed: int, weights: Weights, split: str, count: int, folder: Path, name: str
) -> Measured:
    """Measures images of a split, with haze drawn anew for each.

    Args:
        data: the section of a config.
        seed: of the order, the haze and the pixels.
        weights: of the frozen network.
        split: "train" or "val".
        count: how many images.
        folder: keeps them in pieces of `PIECE`; a later call with the same arguments takes what is there.
        name: of the pieces.

    Raises:
        UserError: settings or data that give no images, a piece that is damaged or of other weights or settings, or a
            disk that is full.
    """
    source, _ = pipeline.make_source(data, split)
    identity = _identity(data, seed, weights, split)
    pieces = []
    for number in tqdm(range(-(-count // PIECE)), desc=f"measuring {name}", unit=f"x{PIECE}", disable=None):
        path = folder / f"{name}{number:04d}.safetensors"
        if not path.exists():
            piece = _piece(data, source, seed + 1_000_003 * (number + 1), weights)
            images.write_bytes(path, safetensors.numpy.save(piece, {"identity": identity}))
        pieces.append(_read(path, identity))
    return {key: np.concatenate([piece[key] for piece in pieces])[:count] for key in pieces[0]}


def _piece(data: ConfigDict, source: pipeline.Source, seed: int, weights: Weights) -> Measured:
    """Follows from its arguments alone, so that pieces can be made in any order."""
    batch_size = min(BATCH, len(source))
    iterator = pipeline.train_iterator(data, source, batch_size, seed)
    rng = np.random.default_rng(seed)
    try:
        batches = [measure(weights, next(iterator), rng) for _ in range(PIECE // batch_size)]
    finally:
        iterator.close()
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def _identity(data: ConfigDict, seed: int, weights: Weights, split: str) -> str:
    """What must be the same for a piece to be the same."""
    told = hashlib.sha256(json.dumps([data.to_dict(), seed, split, PIECE, GRID], sort_keys=True).encode())
    for path, x in sorted(jax.tree_util.tree_leaves_with_path(weights.params), key=lambda leaf: str(leaf[0])):
        told.update(str(path).encode() + np.ascontiguousarray(x).tobytes())
    return told.hexdigest()


def _read(path: Path, identity: str) -> Measured:
    try:
        with safetensors.safe_open(path, "np") as file:
            same = (file.metadata() or {}).get("identity") == identity
            piece = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: is damaged ({' '.join(str(error).split())[:80]}): delete it") from None
    if not same:
        raise UserError(f"{path}: is of other weights or settings: delete it, or choose another --workdir")
    return piece
