"""The orientation that cameras write beside an image's pixels: read from EXIF, and applied."""

import io
import struct
from typing import Any

import numpy as np

from iassf_jax.data.image_headers import BadHeader, _tiff_tags

Array = np.ndarray[Any, Any]
_ORIENTATION = 274


def exif_orientation(data: bytes) -> int:
    """The orientation, 1 to 8, in the EXIF data of a JPEG, PNG or WebP file; 1 (upright) where it has none."""
    if data.startswith(b"\xff\xd8"):
        exif = _of_jpeg(data)
    elif data.startswith(b"\x89PNG"):
        exif = _of_chunks(data, 8, ">I4s", b"eXIf", 4)
    elif data.startswith(b"RIFF"):
        exif = _of_chunks(data, 12, "<4sI", b"EXIF", 0)
    else:
        return 1
    exif = exif.removeprefix(b"Exif\0\0")
    if exif[:2] not in (b"II", b"MM"):
        return 1
    try:
        value = _tiff_tags(io.BytesIO(exif)).get(_ORIENTATION, 1)
    except (BadHeader, struct.error):
        return 1
    return value if 1 <= value <= 8 else 1


def upright(image: Array, orientation: int) -> Array:
    """The image [H, W, ...] as its orientation means it to be seen.

    Source:
        EXIF 2.3, tag 274: 2 mirrored, 3 half a turn, 4 both, 5 transposed, 6 a quarter to the right is needed, 7
        transposed along the other diagonal, 8 a quarter to the left is needed.
    """
    if orientation in (2, 3):
        image = image[:, ::-1]
    if orientation in (3, 4):
        image = image[::-1]
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (6, 7):
        image = image[:, ::-1]
    if orientation in (7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _of_jpeg(data: bytes) -> bytes:
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker == 0xFF:  # filling
            at += 1
        elif marker in (0xDA, 0xD9):
            break
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", at + 4):
            return data[at + 4 : at + 2 + length]
        else:
            at += 2 + length
    return b""


def _of_chunks(data: bytes, at: int, layout: str, name: bytes, after: int) -> bytes:
    """The content of the named chunk; `layout`: length and name, `after`: bytes behind a chunk, if not for evenness."""
    while at + 8 <= len(data):
        fields = struct.unpack_from(layout, data, at)
        found, length = fields if isinstance(fields[0], bytes) else fields[::-1]
        if found == name:
            return data[at + 8 : at + 8 + length]
        at += 8 + length + (after or length % 2)
    return b""
