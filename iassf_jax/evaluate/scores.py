"""Scores of dehazed images, the same for validation during training and for `eval.py`."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from iassf_jax.fuse.network import Predictor
from iassf_jax.metrics import DEHAZING_METRICS
from iassf_jax.metrics.psnr import psnr
from iassf_jax.metrics.ssim import ssim

SCORES = {"psnr": psnr, "ssim": ssim}
COLUMNS = dict(zip(SCORES, (metric.name for metric in DEHAZING_METRICS), strict=True))
"""What a report calls them."""
NAMES = tuple(name + suffix for suffix in ("", "_hazy") for name in SCORES)
"""What `score` gives, in its order."""


@functools.partial(jax.jit, static_argnames=("name",))
def _score(name: str, image: jax.Array, reference: jax.Array, data_range: float) -> jax.Array:
    return SCORES[name](image, reference, data_range)


def spread(total: int, count: int) -> list[int]:
    """At most `count` of the indices 0 ... total - 1, evenly spread, the first and the last among them."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def predict(
    predictor: Predictor, examples: Iterable[Mapping[str, Any]], batch_size: int = 1
) -> Iterator[dict[str, Any]]:
    """Runs the network over examples, in their order; neighbours of one size and type share a batch.

    A last partial batch is filled by repetition, so that a size compiles once.

    Args:
        predictor: the network.
        examples: each with `hazy` and `infrared`, as of `pipeline.whole_example`.
        batch_size: pairs a batch.

    Yields:
        Each example with `dehazed`, `fused` (and `haze_density`) added.
    """
    group: list[Mapping[str, Any]] = []
    for example in examples:
        if group and (len(group) == batch_size or _kind(example) != _kind(group[0])):
            yield from _run(predictor, group, batch_size)
            group = []
        group.append(example)
    if group:
        yield from _run(predictor, group, batch_size)


def _kind(example: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple((example[name].shape, example[name].dtype) for name in ("hazy", "infrared"))


def _run(predictor: Predictor, group: list[Mapping[str, Any]], batch_size: int) -> Iterator[dict[str, Any]]:
    filled = group + [group[-1]] * (batch_size - len(group))
    out = predictor(*(np.stack([example[name] for example in filled]) for name in ("hazy", "infrared")))
    for i, example in enumerate(group):
        yield {**example, **{name: x[i] for name, x in out.items()}}


def score(example: Mapping[str, Any]) -> dict[str, float]:
    """PSNR and SSIM of the 8-bit dehazed image, and of the hazy one beside it, against the clear image.

    Args:
        example: `hazy`, `clear` uint8|uint16[H, W, 3] and `dehazed` uint8[H, W, 3].

    Returns:
        `psnr`, `ssim`, `psnr_hazy`, `ssim_hazy`.
    """
    clear, hazy = (_to_255(example[name]) for name in ("clear", "hazy"))
    scores = {}
    for suffix, image in (("", example["dehazed"]), ("_hazy", hazy)):
        scores |= {name + suffix: value for name, value in dehazing_scores(image, clear).items()}
    return scores


def dehazing_scores(image: np.ndarray, clear: np.ndarray) -> dict[str, float]:
    """`psnr` (dB) and `ssim` of an image [H, W, 3] in 0..255 against the clear one."""
    return {name: float(_score(name, image[None], clear[None], 255.0)[0]) for name in SCORES}


def _to_255(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else (image / np.float32(257)).astype(np.float32)
