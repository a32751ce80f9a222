"""Sizes of image files from their headers alone: nothing is decoded, so a size that lies costs nothing.

Decoders believe what a file says of its parts, and reserve memory for it: here such numbers are held against the file.
"""

import os
import struct
from typing import Any, BinaryIO

# Start-of-frame markers of JPEG: C0 to CF, less DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class BadHeader(Exception):
    """The bytes are no header that we can read; the message is the reason."""


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    data = file.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise BadHeader("is cut off in its header")
    return struct.unpack(layout, data)


def _seek(file: BinaryIO, offset: int) -> None:
    """Goes to a place that the file names, if it has it."""
    if offset > file.seek(0, os.SEEK_END):
        raise BadHeader("is cut off in its header")
    file.seek(offset)


def _png_size(file: BinaryIO) -> tuple[int, int]:
    file.seek(12)
    name, width, height = _unpack(file, ">4sII")
    if name != b"IHDR":
        raise BadHeader("has a damaged PNG header")
    return height, width


_PNG_PARTS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def png_pixels(data: bytes) -> bytes:
    """A PNG file's parts that make its pixels: colour profiles, texts and animation go, which may unpack to gigabytes.

    Raises:
        BadHeader: a part says that it is longer than the file, or there is no last one.
    """
    view, start, kept = memoryview(data), 8, [data[:8]]
    while start + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        if name in _PNG_PARTS:
            kept.append(view[start:end])
        if name == b"IEND":
            return b"".join(kept)
        start = end
    raise BadHeader("is truncated or damaged and cannot be decoded")


def _jpeg_size(file: BinaryIO) -> tuple[int, int]:
    file.seek(2)
    while True:
        prefix, marker = _unpack(file, ">BB")
        while marker == 0xFF:  # fill bytes are allowed before a marker
            (marker,) = _unpack(file, ">B")
        if prefix != 0xFF or marker in (0xD9, 0xDA):
            raise BadHeader("has a damaged JPEG header")
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        (length,) = _unpack(file, ">H")
        if marker in _JPEG_FRAMES:
            _, height, width = _unpack(file, ">BHH")
            return height, width
        file.seek(max(length, 2) - 2, os.SEEK_CUR)


def _webp_size(file: BinaryIO) -> tuple[int, int]:
    file.seek(12)
    chunk, _ = _unpack(file, "<4sI")
    if chunk == b"VP8X":
        data = _unpack(file, "<10B")
        width, height = (data[i] + (data[i + 1] << 8) + (data[i + 2] << 16) + 1 for i in (4, 7))
    elif chunk == b"VP8L":
        _, bits = _unpack(file, "<BI")
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        _, code, width, height = _unpack(file, "<3s3sHH")
        if code != b"\x9d\x01\x2a":
            raise BadHeader("has a damaged WebP header")
        width, height = width & 0x3FFF, height & 0x3FFF
    else:
        raise BadHeader("has a damaged WebP header")
    return height, width


def _bmp_size(file: BinaryIO) -> tuple[int, int]:
    file.seek(14)
    header, width, height = _unpack(file, "<Iii")
    if header == 12:
        raise BadHeader("has the BMP header of OS/2, with which OpenCV loses the colours: save it as PNG")
    return abs(height), width  # a negative height only says that the rows run downwards


def _tiff_tags(file: BinaryIO) -> dict[int, int]:
    """The first value of each tag of whole numbers; where it lies elsewhere, its place, but for the bits (258)."""
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    (version,) = _unpack(file, order + "H")
    if version == 43:  # BigTIFF
        count_type, entry, offsets, scalars = "Q", "HHQ8s", "Q", {1: "B", 3: "H", 4: "I", 16: "Q"}
        _, _, offset = _unpack(file, order + "HHQ")
    else:
        count_type, entry, offsets, scalars = "H", "HHI4s", "I", {1: "B", 3: "H", 4: "I"}
        (offset,) = _unpack(file, order + "I")
    _seek(file, offset)
    (count,) = _unpack(file, order + count_type)
    tags, seen = {}, set()
    for _ in range(min(count, 4096)):
        tag, kind, length, value = _unpack(file, order + entry)
        if tag in seen:
            raise BadHeader("has a damaged TIFF header, with a tag twice")
        seen.add(tag)
        if kind in scalars:
            values = order + scalars[kind]
            tags[tag] = struct.unpack_from(values, value)[0]
            if tag == 258 and length * struct.calcsize(values) > len(value):  # bits of each channel, elsewhere
                entries = file.tell()
                _seek(file, struct.unpack(order + offsets, value)[0])
                (tags[tag],) = _unpack(file, values)
                file.seek(entries)
    return tags


def _tiff_size(file: BinaryIO) -> tuple[int, int]:
    tags = _tiff_tags(file)
    if 256 not in tags or 257 not in tags:
        raise BadHeader("has a TIFF header without a width or height")
    for tag, size in ((322, tags[256]), (323, tags[257])):  # of tiles: the decoder makes room for whole ones
        if tags.get(tag, 0) > max(1024, 2 * size):
            raise BadHeader("has a damaged TIFF header, with tiles that are larger than the image: save it again")
    # OpenCV turns such TIFF files, but not JPEG, PNG or WebP: refuse rather than treat formats differently.
    if tags.get(274, 1) != 1:
        raise BadHeader(f"has the TIFF orientation tag {tags[274]}: save it upright and without the tag")
    if tags.get(258) == 16:  # what OpenCV reads wrongly, without a word
        if tags.get(262) == 0:
            raise BadHeader("is a 16-bit TIFF whose white is 0, which OpenCV would read as a negative: save it as PNG")
        if tags.get(284, 1) != 1 and tags.get(277, 1) > 1:
            raise BadHeader("is a 16-bit TIFF of separate planes, which OpenCV would mix up: save it as PNG")
        if tags.get(277) == 2:
            raise BadHeader("is a 16-bit grey TIFF with alpha, of which OpenCV keeps 8 bits: save it without alpha")
    return tags[257], tags[256]


def header_size(file: BinaryIO) -> tuple[int, int]:
    """Height and width as the header of a PNG, JPEG, WebP, BMP or TIFF file has them; raises BadHeader."""
    start = file.read(12)
    if not start:
        raise BadHeader("is empty: copy or download it again")
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_size(file)
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(file)
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return _webp_size(file)
    if start.startswith(b"BM"):
        return _bmp_size(file)
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff_size(file)
    raise BadHeader("is not a PNG, JPEG, WebP, BMP or TIFF image, whatever its name says: convert it")
