"""From a pair of images as files and cameras give them to the pair that networks take."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from iassf_jax.data import borders, images, levels
from iassf_jax.data.levels import Percentiles
from iassf_jax.data.notes import Note
from iassf_jax.errors import UserError

Array = np.ndarray[Any, Any]
Limits = tuple[float, float] | None
BORDERS = ("drop", "keep")
_TINT, _DARK = 2.0, 64.0  # levels of 255: what a codec may add to a channel, and what is no brighter


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How pairs are prepared.

    Attributes:
        resize_infrared: brings infrared images of another size to that of their visible ones (bilinear; area, where
            they get smaller), which aligns them only if both show the same view.
        infrared_percentiles: (low, high), e.g. (1, 99): stretches each infrared image between these percentiles to
            0..1; then any numbers pass, of whatever type and range. "auto": does so, by 1 and 99, with 16-bit images
            that span less than a quarter of their range, as raw thermal data do. None: never.
        visible_percentiles: the same of visible images, of all channels as one. "auto": 16-bit images that use 8, 10,
            12 or 14 of their bits are scaled by these, so that black stays black.
        infrared_border: "drop": a border of one value that registration has left gets no weight, the dehazed image
            stands there. "keep": it is taken for heat.
    """

    resize_infrared: bool = False
    infrared_percentiles: Percentiles = "auto"
    visible_percentiles: Percentiles = "auto"
    infrared_border: str = "drop"

    def __post_init__(self) -> None:
        for what in ("infrared", "visible"):
            percentiles = getattr(self, f"{what}_percentiles")
            if isinstance(percentiles, list):
                object.__setattr__(self, f"{what}_percentiles", tuple(percentiles))
            levels.check_percentiles(percentiles, what)
        if self.infrared_border not in BORDERS:
            raise UserError(f"infrared border {self.infrared_border!r}: use one of {', '.join(BORDERS)}")

    def takes_numbers(self, what: str) -> bool:
        """Whether images of any type and range pass."""
        return isinstance(getattr(self, f"{what}_percentiles"), tuple)


DEFAULT = Preparation()


class Prepared(NamedTuple):
    """A pair that networks take: `visible` [H, W, 3] and `infrared` [H, W], uint8, uint16, or float32 in 0..1.

    `border`: bool[H, W], where the infrared image says nothing, or float32[H, W], by how much, 0 to 1; None: nowhere.
    """

    visible: Array
    infrared: Array
    border: Array | None = None


class Looked(NamedTuple):
    """What is found out of a pair: between which values each image is stretched (None: not at all), and the border."""

    visible: Limits
    infrared: Limits
    border: Array | None


def prepare_pair(
    visible: Array, infrared: Array, how: Preparation = DEFAULT, notes: list[Note] | None = None
) -> Prepared:
    """Brings one pair, as `Fuser` takes it, to what networks take.

    Args:
        visible, infrared: see `Fuser`.
        how: see `Preparation`.
        notes: what was done of its own accord is appended to it; None: is told as a warning.

    Raises:
        UserError: says which image is wrong in which way.
    """
    refuse_swapped(visible, infrared)
    visible, infrared = shaped(visible, infrared, how)
    looked = look(visible, infrared, how)
    said = what_was_found(visible, infrared, looked, how)
    if notes is None:
        for note in said:
            warnings.warn(str(note), UserWarning, stacklevel=2)
    else:
        notes += said
    return apply(visible, infrared, looked, how)


def shaped(visible: Array, infrared: Array, how: Preparation = DEFAULT) -> tuple[Array, Array]:
    """[H, W, 3] and [H, W] of both images, after a look at their shapes."""
    visible, infrared = _image(visible, "visible"), images.one_channel(_image(infrared, "infrared"))
    visible = np.repeat(visible, 3, axis=2) if visible.shape[2] == 1 else visible
    if infrared.shape != visible.shape[:2] and not how.resize_infrared:
        sizes = (
            f"infrared is {infrared.shape[1]} x {infrared.shape[0]}, visible {visible.shape[1]} x {visible.shape[0]}"
        )
        raise UserError(f"{sizes}: align them, or resize the infrared image (resize_infrared, --resize-infrared)")
    return visible, infrared


def look(visible: Array, infrared: Array, how: Preparation) -> Looked:
    """Finds the limits of both images and the border of the infrared one; arguments as `shaped` gives them."""
    if how.takes_numbers("visible"):
        of_visible: Limits = levels.limits(visible, how.visible_percentiles, "visible")
    else:
        _check_values(visible, "visible")
        bits = levels.used_bits(visible) if how.visible_percentiles == "auto" else None
        of_visible = bits and (0.0, 2.0**bits - 1)
    if not how.takes_numbers("infrared"):
        _check_values(infrared, "infrared")
    border = borders.find_border(infrared) if how.infrared_border == "drop" else None
    seen = infrared if border is None else infrared[~border]
    if how.takes_numbers("infrared"):
        of_infrared: Limits = levels.limits(seen, how.infrared_percentiles)
    else:
        of_infrared = levels.raw_limits(seen) if how.infrared_percentiles == "auto" else None
    return Looked(of_visible, of_infrared, border)


def what_was_found(visible: Array, infrared: Array, looked: Looked, how: Preparation) -> list[Note]:
    """What was done of its own accord, for people."""
    notes = []
    if looked.infrared and how.infrared_percentiles == "auto":
        about = "raw thermal data were stretched to the full range (infrared_percentiles, --infrared-percentiles none)"
        notes.append(Note(about, f"{looked.infrared[0]:g} to {looked.infrared[1]:g} of {infrared.dtype}"))
    if looked.visible and how.visible_percentiles == "auto":
        about = "a 16-bit visible image uses a part of its bits and was scaled (visible_percentiles, "
        notes.append(Note(f"{about}--visible-percentiles none)", f"0 to {looked.visible[1]:g} of {visible.dtype}"))
    if looked.border is not None:
        about = "the infrared image has a border without heat, which gets no weight (infrared_border, "
        notes.append(Note(f"{about}--infrared-border keep)", f"{looked.border.mean():.1%} of its pixels"))
    return notes


def apply(visible: Array, infrared: Array, looked: Looked, how: Preparation) -> Prepared:
    """The pair, stretched, without its border, and of one size."""
    if looked.visible:
        visible = levels.scaled(visible, *looked.visible)
    if looked.infrared:
        infrared = levels.scaled(infrared, *looked.infrared)
    border = looked.border
    if border is not None:
        infrared = borders.filled(infrared, border)
    size = visible.shape[:2]
    if infrared.shape != size:
        infrared = _resized(infrared, size)
        border = None if border is None else _resized(border.astype(np.float32), size) > 0
    return Prepared(visible, infrared, border)


def stacked(pairs: Sequence[Prepared]) -> tuple[Array, Array, Array | None]:
    """Pairs of one size as batches: visible, infrared, borders. Images of different types become floats."""
    batches = []
    for side in ([pair.visible for pair in pairs], [pair.infrared for pair in pairs]):
        same = len({x.dtype for x in side}) == 1
        batches.append(np.stack(side if same else [images.to_float(x) for x in side]))
    if all(pair.border is None for pair in pairs):
        return batches[0], batches[1], None
    none = np.zeros(pairs[0].infrared.shape, bool)
    return batches[0], batches[1], np.stack([none if pair.border is None else pair.border for pair in pairs])


def array(x: Any, what: str) -> Array:
    """Numbers of any type and shape; `what` names the image in errors."""
    if isinstance(x, np.ma.MaskedArray):
        raise UserError(f"the {what} image has a mask, which would be lost: give numbers alone, e.g. x.filled(0)")
    try:
        x = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise UserError(f"the {what} image is no array ({str(error).splitlines()[0]}): give [H, W, 3]") from None
    if x.dtype.kind not in "uif":
        raise UserError(f"the {what} image holds {x.dtype} values: pass uint8, uint16, or float in 0..1")
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def _image(x: Any, what: str) -> Array:
    """[H, W, 1 or 3]."""
    x = array(x, what)
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[2] not in (1, 3):
        more = ": drop its alpha channel" if x.ndim == 3 and x.shape[2] == 4 else ": give [H, W] or [H, W, 3]"
        raise UserError(f"the {what} image has shape {x.shape}{more}")
    if x.size == 0:
        raise UserError(f"the {what} image is empty (shape {x.shape}): check how it was read or cropped")
    return x


def _check_values(x: Array, what: str) -> None:
    try:
        images.to_float(x)
    except UserError as error:
        option = f"{what}_percentiles, --{what}-percentiles 1 99"
        stretch = x.dtype.kind in "uif" and np.isfinite(x).all()
        raise UserError(f"{what}: {error}" + (f", or stretch it ({option})" if stretch else "")) from None


def refuse_swapped(visible: Array, infrared: Array) -> None:
    """A grey visible image beside an infrared one in colours: whoever gave them took one for the other."""
    seen, heat = _saturation(_image(visible, "visible")), _saturation(_image(infrared, "infrared"), _DARK)
    # Fog has 0.01.
    if heat > 0.02 and seen < min(0.03, 0.2 * heat):
        raise UserError(
            "the visible image is grey and the infrared one has colours: swap them (or, if the infrared image is in "
            "false colours, save it in grey)"
        )


def _saturation(x: Array, darkest: float = 0.0) -> float:
    """Mean difference between the channels of an image [H, W, 1 or 3], as a share of its brightness; of a sample.

    What a video's codec gives to grey is left out: a faint tint of the whole image, and noise. In the dark that would
    be a large share, so that of 8 bits `darkest` is the least brightness.
    """
    if x.dtype.kind not in "uif":
        return math.nan  # told later
    step = max(1, max(x.shape[:2]) // 256)
    sample = x[::step, ::step].astype(np.float64)
    size = tuple(math.ceil(n / 8) for n in sample.shape[1::-1])
    with np.errstate(over="ignore", invalid="ignore"):  # told later
        colours = sample - sample.mean(axis=2, keepdims=True)
        colours = cv2.resize(colours, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], x.shape[2])
        brightness = abs(float(sample.mean()))
        if x.dtype == np.uint8:
            colours -= np.clip(np.median(colours, axis=(0, 1)), -_TINT, _TINT)
            brightness = max(brightness, darkest)
        return float(np.ptp(colours, axis=2).mean() / max(brightness, 1e-9))


def _resized(x: Array, size: tuple[int, int]) -> Array:
    smaller = size[0] * size[1] < x.size
    kind = x.dtype if x.dtype in (np.uint8, np.uint16) else np.float32
    return cv2.resize(x.astype(kind), size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
