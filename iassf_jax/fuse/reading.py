"""Reading the two files of a pair, and turning both the same way."""

from typing import Any

import numpy as np

from iassf_jax.data import images
from iassf_jax.data.images import Reading
from iassf_jax.data.notes import Note
from iassf_jax.data.orientation import exif_orientation, upright
from iassf_jax.errors import UserError

Array = np.ndarray[Any, Any]
ORIENTS = ("same", "each", "never")
"""When an orientation that a camera wrote is applied: where both files have the same, each file's own, or never."""


def check_orient(orient: str) -> None:
    """Raises UserError unless it is one of `ORIENTS`."""
    if orient not in ORIENTS:
        raise UserError(f"orient {orient!r}: use one of {', '.join(ORIENTS)}")


def orientations(tags: tuple[int, int], orient: str, none: int, notes: list[Note]) -> tuple[int, int]:
    """Which orientations to apply to the visible and to the infrared file; `none` is that of an upright one."""
    if tags == (none, none) or orient == "each":
        return tags
    if orient == "same" and tags[0] == tags[1]:
        notes.append(Note("both files lie turned and were turned upright (--orient never)", f"by tag {tags[0]}"))
        return tags
    if orient == "same":
        about = "the two files say differently how they lie, and were taken as stored (--orient each turns each)"
        notes.append(Note(about, f"orientation: visible {tags[0]}, infrared {tags[1]}"))
    return none, none


def read_pair(visible: str, infrared: str, orient: str, damaged: bool, notes: list[Note]) -> tuple[Array, Array]:
    """Reads a pair of image files; numbers of any type come as they are.

    Args:
        visible, infrared: the files.
        orient: one of `ORIENTS`.
        damaged: reads JPEG files that are cut off.
        notes: what should be said of the files is appended to it.

    Returns:
        Visible [H, W, 3] and infrared [H, W].

    Raises:
        UserError: as `images.read_image`.
    """
    found, tags = [], []
    for side, path in (("visible", visible), ("infrared", infrared)):
        data, said = images.read_file(path), []
        found.append(images.decode_image(path, data, Reading(damaged, numbers=True), said))
        tags.append(exif_orientation(data))
        notes += [Note(f"the {side} image {note.about}", note.detail) for note in said]
    turns = orientations((tags[0], tags[1]), orient, 1, notes)
    first, second = (upright(image, turn) for image, turn in zip(found, turns, strict=True))
    return images.three_channels(first), images.one_channel(second)
