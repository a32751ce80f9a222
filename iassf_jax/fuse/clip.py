"""Preparing the frames of a clip alike: one stretch for all of it, from its first frames, and one border."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from iassf_jax.data import levels
from iassf_jax.data.notes import Note
from iassf_jax.fuse.prepare import (
    Limits,
    Looked,
    Preparation,
    Prepared,
    apply,
    look,
    refuse_swapped,
    shaped,
    what_was_found,
)

Array = np.ndarray[Any, Any]
_FIRST = 8  # frames that are looked at before the first one is made
_SHARE = 0.02  # of each frame in the limits: a drift is followed within about fifty frames


def prepare_clip(pairs: Iterable[tuple[Array, Array]], how: Preparation, notes: list[Note]) -> Iterator[Prepared]:
    """`prepare_pair` for the frames of a clip, in their order.

    Limits of each frame alone would make the picture pump when something hot comes into view. Here they begin with
    the mean over the first frames and follow slowly. Frames in which the infrared image is even, as while a shutter is
    closed, say nothing of them: of a clip that begins so, limits begin with the first frames that show something.

    Args:
        pairs: visible and infrared frames.
        how: see `Preparation`.
        notes: what was done of its own accord is appended to it.

    Raises:
        UserError: as `prepare_pair`.
    """
    pairs = iter(pairs)
    looked: Looked | None = None
    while first := list(itertools.islice(pairs, _FIRST)):
        refuse_swapped(*first[-1])
        first = [shaped(*pair, how) for pair in first]
        even = sum(_is_even(infrared) for _, infrared in first)
        waits = even == len(first)
        if not waits:
            first += [shaped(*pair, how) for pair in itertools.islice(pairs, even)]
        found = _joined([look(*pair, how) for pair in first if waits or not _is_even(pair[1])])
        looked = found if looked is None else found._replace(visible=looked.visible)
        notes += [note for note in what_was_found(*first[0], looked, how) if note not in notes]
        for visible, infrared in first:
            yield apply(visible, infrared, looked, how)
        if not waits:
            break
    for visible, infrared in (shaped(*pair, how) for pair in pairs):
        looked = _followed(looked, visible, infrared, how)
        yield apply(visible, infrared, looked, how)


def _is_even(infrared: Array) -> bool:
    """Whether an image shows nothing, as while a camera's shutter is closed; pixels at either end of 16 bits fail."""
    top = 65535 if infrared.dtype == np.uint16 else np.inf
    seen = infrared[(infrared > 0) & (infrared < top)]
    return bool(seen.size == 0 or seen.min() == seen.max())


def _joined(several: list[Looked]) -> Looked:
    """Means of limits; a border where every frame has it. What few frames show is left out."""
    borders = [looked.border for looked in several]
    border = None if any(x is None for x in borders) else np.logical_and.reduce(borders)
    return Looked(
        _mean([looked.visible for looked in several]),
        _mean([looked.infrared for looked in several]),
        border if border is not None and border.any() else None,
    )


def _mean(limits: list[Limits]) -> Limits:
    known = [pair for pair in limits if pair]
    if 2 * len(known) < len(limits):
        return None
    low, high = np.mean(known, axis=0)
    return float(low), float(high)


def _followed(looked: Looked, visible: Array, infrared: Array, how: Preparation) -> Looked:
    """With limits that have moved a little towards this frame's own. A camera's number of bits stays what it is."""
    if looked.infrared:
        seen = infrared if looked.border is None else infrared[~looked.border]
        raw = how.infrared_percentiles == "auto"
        own = levels.raw_limits(seen) if raw else levels.limits(seen, how.infrared_percentiles)
        looked = looked._replace(infrared=_mixed(looked.infrared, own))
    if looked.visible and how.visible_percentiles != "auto":
        looked = looked._replace(
            visible=_mixed(looked.visible, levels.limits(visible, how.visible_percentiles, "visible"))
        )
    return looked


def _mixed(before: tuple[float, float], own: Limits) -> tuple[float, float]:
    """What is far away moves them no more than what is near: something hot that passes is no drift."""
    most = 0.25 * (before[1] - before[0])
    steps = [_SHARE * min(max(now - then, -most), most) for then, now in zip(before, own or before, strict=True)]
    return before[0] + steps[0], before[1] + steps[1]
