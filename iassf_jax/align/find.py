"""Finding the warp of a rig from some of its pairs, or of one pair, and refusing where nothing convinces."""

import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from iassf_jax.align import refine, search, warps
from iassf_jax.align.edges import luma
from iassf_jax.align.lenses import Lens
from iassf_jax.align.rig import Rig
from iassf_jax.errors import UserError

Pair = tuple[np.ndarray, np.ndarray]
LEAST_MARGIN = 0.1
"""Of one pair's score above those of shifted warps; benchmarks/align.py measures what wrong pairs reach."""
_SIDE = 800  # longest side that is looked at
_SCALES = tuple(np.exp(np.arange(-5, 6) * np.log(1.08)))
_TURNS = (-5, 0, 5)
_COARSE = 12  # pairs for the coarse search
_GAIN = 0.004  # of the score, that perspective must bring with fewer than four pairs
_NOISE = 0.7  # of the distance between halves of the pairs, about the error of all: perspective must move corners more


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of it.

    Attributes:
        rig: the warp.
        before, after: mean score of the pairs used, with the image just stretched to the visible one, and with the rig.
        margin: of `after` above shifted warps.
        used: indices of the pairs that it rests on.
        uncertainty: distance of the corners between halves of the pairs, in visible pixels; None below four pairs.
    """

    rig: Rig
    before: float
    after: float
    margin: float
    used: tuple[int, ...]
    uncertainty: float | None


def find_rig(
    pairs: Sequence[Pair],
    model: str | None = None,
    lenses: tuple[Lens | None, Lens | None] = (None, None),
    progress: Callable[[str], None] = lambda step: None,
) -> Found:
    """Finds how the infrared image lies in the visible one.

    Args:
        pairs: visible [H, W, 3] or [H, W] and infrared [h, w], of any type; all of one size each.
        model: of `refine.MODELS`; None: the simplest that the pairs do not contradict.
        lenses: calibrations of the two cameras.
        progress: called with what is being done.

    Raises:
        UserError: pairs of several sizes, or none that convinces.
    """
    if not pairs:
        raise UserError("no pairs to align: give some")
    sizes = {(v.shape[1::-1], i.shape[1::-1]) for v, i in pairs}
    if len(sizes) > 1:
        raise UserError("the pairs are of several sizes: align a rig from images of one size each")
    sizes = sizes.pop()
    lenses = tuple(lens and lens.of_size(size) for lens, size in zip(lenses, sizes, strict=True))
    small, resized = _prepared(pairs, lenses)
    progress("searching")
    if model == "translation":
        found = search.starts(_spread(small, _COARSE), [1.0], [0])
    else:
        found = search.starts(_spread(small, _COARSE), _SCALES, _TURNS)
    if not found:
        raise UserError("the images are too small to align: give pairs of at least 64 pixels a side")
    first = "translation" if model == "translation" else "affine"
    warp = _best(small, found, first)
    progress("leaving out what does not fit")
    scores = refine.judged(small, warp)
    used = [i for i, score in enumerate(scores) if score.margin > 0] or list(range(len(small)))
    if len(used) < 0.5 * len(small):
        used = list(range(len(small)))
    chosen = [small[i] for i in used]
    progress("refining")
    model, warp, apart = _with_model(chosen, warp, model)
    scores = refine.judged(chosen, warp)
    score, margin = (float(np.mean([s[k] for s in scores])) for k in (0, 1))
    if margin < least_margin(len(chosen)):
        raise UserError(
            f"no alignment convinces: its score lies {margin:.2f} above that of shifted images, chance reaches "
            f"{least_margin(len(chosen)):.2f}: give more pairs, with edges that both images show, of scenes far away"
        )
    uncertainty = None if apart is None else apart * sizes[0][0] / small[0][0].shape[1]
    stretched = warps.resizing(*(x.shape[1::-1] for x in small[0]))
    before = float(np.mean([s.value for s in refine.judged(chosen, stretched)]))
    full = np.linalg.inv(resized[1]) @ warp @ resized[0]
    rig = Rig(full / full[2, 2], *sizes, model, lenses)
    return Found(rig, before, score, margin, tuple(used), uncertainty)


def least_margin(pairs: int) -> float:
    """What so many pairs must reach together: chance gets smaller the more there are."""
    return max(0.04, LEAST_MARGIN / np.sqrt(pairs))


def register(visible: np.ndarray, infrared: np.ndarray, start: Rig | None = None) -> Rig:
    """Finds the warp of one pair; from a rig, if there is one, and else anew.

    Raises:
        UserError: nothing convinces.
    """
    sizes = visible.shape[1::-1], infrared.shape[1::-1]
    if start is None:
        return find_rig([(visible, infrared)]).rig
    start = start.of_sizes(*sizes)
    small, resized = _prepared([(visible, infrared)], start.lenses)
    warp = resized[1] @ start.matrix @ np.linalg.inv(resized[0])
    warp = refine.refine(small, warp, "affine", refine.LEVELS[:2])
    if (margin := refine.judged(small, warp)[0].margin) < LEAST_MARGIN:
        raise UserError(f"cannot be registered (score {margin:.2f} above shifted images, {LEAST_MARGIN:g} is needed)")
    warp = refine.refine(small, warp, "affine", refine.LEVELS[2:])
    full = np.linalg.inv(resized[1]) @ warp @ resized[0]
    return dataclasses.replace(start, matrix=full / full[2, 2])


def _prepared(
    pairs: Sequence[Pair], lenses: tuple[Lens | None, Lens | None]
) -> tuple[list[Pair], tuple[np.ndarray, np.ndarray]]:
    """Lumas of at most `_SIDE` pixels without distortion, and what reducing did to the pixels of both sides."""
    small, resized = [], (np.eye(3), np.eye(3))
    for pair in pairs:
        both, resized = [], []
        for image, lens in zip(pair, lenses, strict=True):
            image = luma(image)
            image = lens.straight_image(image) if lens else image
            size = image.shape[1::-1]
            scale = min(1.0, _SIDE / max(size))
            after = tuple(max(1, round(n * scale)) for n in size)
            both.append(cv2.resize(image, after, interpolation=cv2.INTER_AREA))
            resized.append(warps.resizing(size, after))
        small.append(tuple(both))
    return small, tuple(resized)


def _spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    return [pairs[round(i)] for i in np.linspace(0, len(pairs) - 1, min(count, len(pairs)))]


def _best(pairs: Sequence[Pair], found: Sequence[search.Start], model: str) -> np.ndarray:
    """The start that is best after a little refinement."""
    few = _spread(pairs, _COARSE)
    tried = [refine.refine(few, start.matrix, model, refine.LEVELS[:2]) for start in found]
    if len(tried) == 1:
        return tried[0]
    return max(tried, key=lambda m: np.mean([s.margin for s in refine.judged(few, m)]))


def _with_model(pairs: Sequence[Pair], warp: np.ndarray, model: str | None) -> tuple[str, np.ndarray, float | None]:
    """The model asked for, or the simplest that the pairs do not contradict; the warp; how far halves differ."""
    coarse = refine.LEVELS[1:2]
    if model is None:
        simple = refine.refine(pairs, warp, "affine", coarse)
        full = refine.refine(pairs, simple, "homography", coarse)
        if len(pairs) < 4:
            scores = [np.mean([s.value for s in refine.judged(pairs, m)]) for m in (simple, full)]
            needed = scores[1] > scores[0] + _GAIN
        else:
            size = pairs[0][0].shape[1::-1]
            needed = warps.corner_distance(simple, full, size) > _NOISE * _halves(pairs, full, "homography")
        model, warp = ("homography", full) if needed else ("affine", simple)
    else:
        warp = refine.refine(pairs, warp, model, coarse)
    apart = _halves(pairs, warp, model) if len(pairs) >= 4 else None
    return model, refine.refine(pairs, warp, model, refine.LEVELS[2:]), apart


def _halves(pairs: Sequence[Pair], warp: np.ndarray, model: str) -> float:
    """How far apart the warps of two halves of the pairs bring the corners, in pixels of the images given."""
    halves = [refine.refine(pairs[i::2], warp, model, refine.LEVELS[1:2]) for i in (0, 1)]
    return warps.corner_distance(*halves, pairs[0][0].shape[1::-1])
