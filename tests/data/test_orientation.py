"""The orientation in EXIF data, in every format that has them, and what it does to pixels."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from iassf_jax.data.orientation import exif_orientation, upright
from image_files import sample


def exif(orientation, order="<"):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def with_exif(suffix, orientation, order="<", image=None):
    """An image file with that tag."""
    image = sample((16, 24, 3)) if image is None else image
    data = bytes(cv2.imencode(suffix, image)[1])
    block = exif(orientation, order)
    if suffix == ".jpg":
        block = b"Exif\0\0" + block
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    if suffix == ".png":
        chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
        return data[:33] + chunk + data[33:]
    height, width = image.shape[:2]
    header = struct.pack("<4sIB3x", b"VP8X", 10, 8) + (width - 1).to_bytes(3, "little")
    body = b"WEBP" + header + (height - 1).to_bytes(3, "little") + data[12:] + struct.pack("<4sI", b"EXIF", len(block))
    body += block + b"\0" * (len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_tag_is_found_in_every_format(suffix, order):
    for orientation in range(1, 9):
        assert exif_orientation(with_exif(suffix, orientation, order)) == orientation
    assert exif_orientation(bytes(cv2.imencode(suffix, sample())[1])) == 1
    assert exif_orientation(with_exif(suffix, 99)) == 1


def test_damaged_tags_are_none():
    data = with_exif(".jpg", 6)
    for size in (3, 5, 12, 20, 24, 30):
        assert exif_orientation(data[:size]) == 1
    assert exif_orientation(data.replace(b"II*\0", b"xx*\0")) == 1
    assert exif_orientation(data.replace(b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f")) == 1
    assert exif_orientation(b"BM") == exif_orientation(b"") == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_opencv_does(orientation):
    data = with_exif(".jpg", orientation)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(upright(stored, orientation), seen)
