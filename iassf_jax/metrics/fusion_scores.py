"""All metrics of a fused image in one call: the paper's eight, and what users expect beside them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from iassf_jax.errors import UserError
from iassf_jax.metrics import MORE_METRICS, PAPER_METRICS
from iassf_jax.metrics.color import to_gray, to_luma
from iassf_jax.metrics.filters import precision
from iassf_jax.metrics.mutual_information import entropy, q_mi
from iassf_jax.metrics.niqe import q_niqe
from iassf_jax.metrics.nrqm import ForestModel, nrqm, perceptual_index
from iassf_jax.metrics.qabf import q_abf
from iassf_jax.metrics.qcv import q_cv
from iassf_jax.metrics.scd import q_scd
from iassf_jax.metrics.spatial import average_gradient, q_sf, standard_deviation
from iassf_jax.metrics.vif import q_vif

COLORS = ("gray", "rgb_mean")
PI_SHAVE = 4


@jax.jit
def _pair_scores(fused: jax.Array, infrared: jax.Array, visible: jax.Array) -> dict[str, jax.Array]:
    """Of uint8[B, H, W], in one program."""
    return {
        "Q_MI": q_mi(fused, infrared, visible),
        "Q_AB/F": q_abf(fused, infrared, visible),
        "Q_CV": q_cv(fused, infrared, visible),
        "Q_SCD": q_scd(fused, infrared, visible),
        "Q_VIF": q_vif(fused, infrared, visible),
        "Q_SF": q_sf(fused),
        "EN": entropy(fused),
        "SD": standard_deviation(fused),
        "AG": average_gradient(fused) if min(fused.shape[1:]) > 1 else np.full(fused.shape[0], np.nan),
    }


_niqe = jax.jit(q_niqe)


def fusion_scores(
    fused: np.ndarray,
    infrared: np.ndarray,
    visible: np.ndarray,
    color: str = "gray",
    nrqm_model: ForestModel | None = None,
) -> dict[str, float]:
    """Scores one fused image; the paper's protocol takes the clear visible image, not the hazy one, as a source.

    Args:
        fused, visible: uint8[H, W, 3] or uint8[H, W], RGB.
        infrared: uint8[H, W] or uint8[H, W, 3].
        color: "gray" (default) scores MATLAB's grey levels, as most codes of the field; "rgb_mean" scores the channels
            one by one and takes the mean, as VIFB does. Q_NIQE and Q_PI have a protocol of their own, see `q_niqe`.
        nrqm_model: the forests that Q_PI needs; without them it is left out.

    Returns:
        Metric name -> value; NaN where a metric is not defined (images too small, or without structure).

    Raises:
        ValueError: not uint8 images of one size.
    """
    if color not in COLORS:
        raise ValueError(f"color {color!r}: use one of {', '.join(COLORS)}")
    images = [np.asarray(x) for x in (fused, infrared, visible)]
    for name, x in zip(("fused", "infrared", "visible"), images, strict=True):
        if x.dtype != np.uint8 or x.ndim not in (2, 3) or x.shape[2:] not in ((), (3,)):
            raise ValueError(f"{name} is {x.dtype}{list(x.shape)}: give uint8[H, W] or uint8[H, W, 3]")
        if x.shape[:2] != images[0].shape[:2]:
            raise ValueError(
                f"{name} has {x.shape[0]}x{x.shape[1]} pixels, fused {images[0].shape[0]}x{images[0].shape[1]}"
            )
    scores = _sourced(*images, color)
    scores["Q_NIQE"] = _single(_niqe, to_gray(images[0]))
    if nrqm_model is not None:
        scores["Q_PI"] = pi_score(images[0], nrqm_model)
    return {metric.name: scores[metric.name] for metric in (*PAPER_METRICS, *MORE_METRICS) if metric.name in scores}


def _sourced(fused: np.ndarray, infrared: np.ndarray, visible: np.ndarray, color: str) -> dict[str, float]:
    if color == "gray":
        channels = [[to_gray(x)[None] for x in (fused, infrared, visible)]]
    else:
        triples = [np.repeat(x[..., None], 3, axis=2) if x.ndim == 2 else x for x in (fused, infrared, visible)]
        channels = [[x[None, ..., c] for x in triples] for c in range(3)]
    with precision():
        results = [jax.device_get(_pair_scores(*channel)) for channel in channels]
    return {name: float(np.mean([result[name][0] for result in results])) for name in results[0]}


def _single(function: Any, image: np.ndarray) -> float:
    with precision():
        return float(function(image[None])[0])


def pi_score(image: np.ndarray, model: ForestModel) -> float:
    """Q_PI by PIRM-2018's protocol: luma with 4 pixels cut on every side; NaN where NIQE or NRQM is not defined.

    Args:
        image: uint8[H, W, 3], or uint8[H, W], which is repeated to RGB first.
        model: of Ma et al.
    """
    image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    luma = to_luma(image)[PI_SHAVE:-PI_SHAVE, PI_SHAVE:-PI_SHAVE]
    naturalness = _single(_niqe, luma) if luma.size else np.nan
    if not np.isfinite(naturalness):
        return float("nan")
    try:
        return perceptual_index(naturalness, nrqm(luma, model))
    except UserError:
        return float("nan")


def means(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the images where it is finite, as the PSNR of equal images is not.

    Of image -> metric -> value; a metric that no image has is left out.
    """
    names = dict.fromkeys(name for of_image in scores.values() for name in of_image)
    values = {name: [s[name] for s in scores.values() if np.isfinite(s.get(name, np.nan))] for name in names}
    return {name: float(np.mean(x)) for name, x in values.items() if x}
