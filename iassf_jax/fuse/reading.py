"""Reading the two files of a pair, and turning both the same way."""

import hashlib
import os
from collections.abc import Callable
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


class HashedReads:
    """Reads files, and hashes the very bytes: the same names may hold other images, and the same images may move."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read, self._digest = read, hashlib.sha256()

    def __call__(self, path: str) -> bytes:
        """The content of the next file."""
        data = self._read(path)
        self._digest.update(hashlib.sha256(data).digest())
        return data

    def sha256(self) -> str:
        """Of what was read so far."""
        return self._digest.hexdigest()


def read_pair(
    visible: str,
    infrared: str,
    orient: str,
    damaged: bool,
    notes: list[Note],
    read: Callable[[str], bytes] = images.read_file,
) -> tuple[Array, Array]:
    """Reads a pair of image files; numbers of any type come as they are.

    Args:
        visible, infrared: the files.
        orient: one of `ORIENTS`.
        damaged: reads JPEG files that are cut off.
        notes: what should be said of the files is appended to it.
        read: gives a file's content.

    Returns:
        Both as they are stored, [H, W] or [H, W, 3]: `prepare_pair` tells by their colours whether they were swapped.

    Raises:
        UserError: as `images.read_image`.
    """
    if os.path.realpath(visible) == os.path.realpath(infrared):
        notes.append(Note("one file is given for both sides: its grey values stand for the infrared image"))
    first, of_first = _read(visible, "visible", damaged, notes, read)
    second, of_second = _read(infrared, "infrared", damaged, notes, read)
    turns = orientations((of_first, of_second), orient, 1, notes)
    return upright(first, turns[0]), upright(second, turns[1])


def read_alone(path: str, side: str, notes: list[Note]) -> Array:
    """Reads the "visible" or "infrared" image of a pair whose other one is no file, as stored; see `read_pair`."""
    image, tag = _read(path, side, False, notes, images.read_file)
    if tag != 1:
        about = f"the {side} file lies turned and was taken as stored, since its partner is no file"
        notes.append(Note(about, f"tag {tag}"))
    return image


def _read(path: str, side: str, damaged: bool, notes: list[Note], read: Callable[[str], bytes]) -> tuple[Array, int]:
    """The image as it is stored, and its orientation."""
    data, said = read(path), []
    image = images.decode_image(path, data, Reading(damaged, numbers=True), said)
    notes += [Note(f"the {side} image {note.about}", note.detail) for note in said]
    return image, exif_orientation(data)
