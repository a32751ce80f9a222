"""Bringing raw data, counts or temperatures, to the range that networks take. Nothing here imports jax."""

import math
import numbers
from typing import Any, Literal

import numpy as np

from iassf_jax.errors import UserError

Array = np.ndarray[Any, Any]
Percentiles = tuple[float, float] | Literal["auto"] | None
"""(low, high): what lies between these becomes the full range. "auto": as the data seem to need it. None: never."""

AUTO_PERCENTILES = (1.0, 99.0)
_RAW_SPREAD = 2**14  # of 16 bits: a quarter. What 14-bit sensors give spans less, and mostly far less
_DEPTHS = (8, 10, 12, 14)


def check_percentiles(percentiles: Percentiles, what: str = "infrared") -> None:
    """Raises UserError unless they are "auto", None, or (low, high) with 0 <= low < high <= 100."""
    if percentiles is None or (isinstance(percentiles, str) and percentiles == "auto"):
        return
    given = percentiles if isinstance(percentiles, tuple | list) else ()
    if len(given) != 2 or not all(isinstance(x, numbers.Real) and not isinstance(x, bool) for x in given):
        shown = " ".join(repr(percentiles).split())[:80]
        raise UserError(f"{what} percentiles {shown}: give two numbers, e.g. 1 and 99, or 'auto', or none")
    low, high = given
    if not 0 <= low < high <= 100:
        raise UserError(f"{what} percentiles {low:g}, {high:g}: give 0 <= low < high <= 100, e.g. 1 and 99")


def parse_percentiles(text: str, what: str = "infrared") -> Percentiles:
    """Of "auto", "none", or two numbers with a comma or a space between them; raises UserError."""
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    try:
        low, high = map(float, text.replace(",", " ").split())
    except ValueError:
        raise UserError(f"{what} percentiles {text!r}: give two numbers, e.g. 1 99, or auto, or none") from None
    check_percentiles((low, high), what)
    return low, high


def limits(x: Array, percentiles: tuple[float, float], what: str = "infrared") -> tuple[float, float]:
    """The values at two percentiles of an array of numbers; raises UserError for other arrays and percentiles."""
    check_percentiles(percentiles, what)
    if x.dtype.kind not in "uif" or not np.isfinite(x).all():
        raise UserError(f"{what}: holds values that are not finite numbers: mend those pixels first")
    low, high = map(float, np.percentile(x.astype(np.float64), percentiles))
    if not math.isfinite(high - low):
        raise UserError(f"{what}: holds values up to {high:g}: mend or scale those pixels first")
    return low, high


def scaled(x: Array, low: float, high: float) -> Array:
    """The values between `low` and `high` brought to 0..1, the rest clipped: float32, same shape."""
    with np.errstate(over="ignore"):  # what becomes infinite is clipped
        return np.clip((x.astype(np.float64) - low) / (high - low if high > low else 1.0), 0, 1).astype(np.float32)


def stretch(x: Array, percentiles: tuple[float, float], what: str = "infrared") -> Array:
    """Brings the values between two percentiles of an image to 0..1 and clips the rest: float32, same shape.

    Args:
        x: numbers of any type, e.g. counts or temperatures.
        percentiles: (low, high), 0 <= low < high <= 100.
        what: names the image in errors.

    Raises:
        UserError: other percentiles, or values that are not finite numbers.
    """
    return scaled(x, *limits(x, percentiles, what))


def raw_limits(infrared: Array) -> tuple[float, float] | None:
    """Between which values raw thermal data lie; None for an image that is no raw data.

    Raw counts and centikelvins fill a small part of 16 bits. They are known by their spread, not by their largest
    value: a dead or saturated pixel says nothing.

    Args:
        infrared: numbers of any shape; only uint16 can be raw.
    """
    if infrared.dtype != np.uint16:
        return None
    seen = infrared[(infrared > 0) & (infrared < 65535)]
    if seen.size == 0:
        return None
    low, high = np.percentile(seen, AUTO_PERCENTILES)
    if high - low >= _RAW_SPREAD or _is_8_bit(infrared):
        return None
    if high == low:  # something small before an even background
        low, high = seen.min(), seen.max()
    return (float(low), float(high)) if high > low else None


def stretched_16_bits(infrared: Array, percentiles: Percentiles) -> Array:
    """A thermal image after the stretch that `percentiles` mean for it: uint16, or as it is where that is none."""
    found = raw_limits(infrared) if percentiles == "auto" else percentiles and limits(infrared, percentiles)
    return np.rint(65535 * scaled(infrared, *found)).astype(np.uint16) if found else infrared


def in_integers(image: Array, what: str) -> Array:
    """What can be looked at: uint8 and uint16 as they are; numbers of other types, such as temperatures, stretched.

    Args:
        image: [H, W] or [H, W, 3].
        what: names the image in errors.

    Returns:
        uint8 or uint16, same shape.

    Raises:
        UserError: values that are not finite numbers.
    """
    if image.dtype in (np.uint8, np.uint16):
        return image
    return np.rint(65535 * stretch(image, AUTO_PERCENTILES, what)).astype(np.uint16)


def used_bits(visible: Array) -> int | None:
    """How many of its 16 bits a uint16 image uses, 8, 10, 12 or 14; None if all, or for other types."""
    if visible.dtype != np.uint16 or visible.size == 0:
        return None
    top = np.percentile(visible, 99.9)  # a hot pixel says nothing
    bits = next((bits for bits in _DEPTHS if top < 2**bits), None)
    return None if bits is None or top == 0 or _is_8_bit(visible) else bits


def _is_8_bit(image: Array) -> bool:
    """Whether a 16-bit image is one of 8 bits, times 257 or 256: then it is dark or dull, and not raw."""
    return not (image % 257).any() or not (image % 256).any()
