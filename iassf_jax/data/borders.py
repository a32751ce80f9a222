"""Borders that registration leaves in an infrared image: bands and wedges of one value at its sides, without heat.

Seen from a side, such a border is as deep as a straight line says, and of one value down to there. Cold sky and hot
ground that reach a side are of one value too, but have other outlines.
"""

from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]

_DEEPEST = 0.3  # of the side across; what reaches farther is taken for a part of the scene
_SHORTEST = 0.15  # of the side along
_STEEPEST = 0.4  # registration hardly turns an image by more than 20 degrees
_ALIKE = 0.75  # share of the border's lines that end where the straight line says; others may meet something dark
# Of 8-bit images: how far from its value a border may be, and least difference of what is beside it. Videos and JPEG
# leave more noise, which then must go along the whole side.
_EXACT, _NOISY = (2, 4), (12, 20)


def find_border(infrared: Array) -> Array | None:
    """Finds the border of an infrared image.

    Args:
        infrared: numbers of any type, [H, W].

    Returns:
        bool[H, W], true in the border and on its blurred edge; None if there is none.
    """
    finite = infrared.dtype.kind != "f" or np.isfinite(infrared).all()
    if min(infrared.shape) < 16 or not finite:
        return None
    is_8_bit = infrared.dtype == np.uint8
    low, high = (0, 255) if is_8_bit else np.percentile(infrared, (2, 98))
    ends = (0, 255) if is_8_bit else (infrared.min(), infrared.max())
    found = np.zeros(infrared.shape, bool)
    for turns in range(4 if high > low else 0):  # the side that is looked from comes to the left
        side, mask = np.rot90(infrared, turns), np.rot90(found, turns)
        near = side[:, : max(8, int(_DEEPEST * side.shape[1]))].astype(np.float32)
        depth = _of_side(near, ends, (float(high) - float(low)) / 255, is_8_bit)
        if depth is not None:
            mask[np.arange(mask.shape[1]) < depth[:, None]] = True
    return found if found.any() and not found.all() else None


def filled(infrared: Array, border: Array) -> Array:
    """The image with each pixel of its border as the nearest one beside it, so that no edge is left."""
    _, nearest = cv2.distanceTransformWithLabels(
        border.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.empty(nearest.max() + 1, infrared.dtype)
    values[nearest[~border]] = infrared[~border]
    return values[nearest]


def _of_side(side: Array, ends: tuple[Any, Any], level: float, is_8_bit: bool) -> Array | None:
    """How deep the border at the left is, for each row; None if there is none.

    Args:
        side: the image as far as a border may reach.
        ends: the smallest and the largest value, which a border in a part of the side has.
        level: 1/255 of the range.
        is_8_bit: such images may have been compressed with loss.
    """
    values, counts = np.unique(side[:, 0], return_counts=True)
    most = [values[counts.argmax()]] if counts.max() >= 0.3 * len(side) else []
    ends = [end for end in ends if np.abs(values - end).min() <= (_EXACT[0] if is_8_bit else 0)]
    for tolerance, step in (_EXACT, _NOISY) if is_8_bit else ((0, _EXACT[1]),):
        for value in dict.fromkeys([*ends, *most]):
            whole = tolerance == _NOISY[0] or value not in ends
            depth = _straight(_depths(side, value, tolerance), side, step * level, whole)
            if depth is not None:
                return depth
    return None


def _depths(side: Array, value: float, tolerance: float) -> Array:
    """How many pixels from the left on have the value, for each row."""
    other = np.abs(side - value) > tolerance
    return np.where(other.any(axis=1), other.argmax(axis=1), side.shape[1])


def _straight(depths: Array, side: Array, step: float, whole: bool) -> Array | None:
    """The depth of a border for each row, by the straight line that most rows agree with; None if few do.

    `whole`: it must go along the whole side; else, it must begin in a corner.
    """
    count, across = side.shape
    rows = np.flatnonzero((depths > 0) & (depths < across))
    if len(rows) < max(8, _SHORTEST * count):
        return None
    tried = rows[np.linspace(0, len(rows) - 1, min(len(rows), 25)).astype(int)]
    first, second = (x.ravel() for x in np.meshgrid(tried, tried))
    first, second = first[first < second], second[first < second]
    slopes = (depths[second] - depths[first]) / (second - first)
    lines = depths[first, None] + slopes[:, None] * (np.arange(count) - first[:, None])
    deep = lines >= 1
    judged = deep & (depths < across)  # other rows belong to another side's border, or meet something of its value
    alike = judged & (np.abs(depths - lines) <= 1.5)
    support, agreeing = judged.sum(axis=1), alike.sum(axis=1)
    good = (agreeing >= np.maximum(max(8, _SHORTEST * count), _ALIKE * support)) & (np.abs(slopes) <= _STEEPEST)
    good &= (judged & (depths < lines - 1.5)).sum(axis=1) <= 0.02 * support
    good &= deep.mean(axis=1) >= (0.95 if whole else 0)
    good &= (support >= 0.5 * deep.sum(axis=1)) & (deep[:, 0] | deep[:, -1])
    good &= np.where(deep, lines, 0).max(axis=1) < across
    good &= np.where(alike, depths, 0).max(axis=1) >= 3
    if not good.any():
        return None
    best = np.where(good, agreeing, 0).argmax()
    inside = np.flatnonzero(alike[best])
    within, beside = (side[inside, np.clip(depths[inside] + by, 0, across - 1)] for by in (-2, 2))
    if (np.abs(beside - within) >= step).mean() < 0.8:
        return None
    line = np.polynomial.Polynomial.fit(inside, depths[inside], 1)(np.arange(count))
    line = np.ceil(line + 0.5)  # with the pixels that are a mixture of both
    return np.where((line > 0) & (depths > 0), np.minimum(line, depths) + 1, 0)
