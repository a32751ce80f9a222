"""Where a JPEG image ends in its file, and whether its data are all there."""

import io
import re
from typing import NamedTuple

from PIL import Image

END = b"\xff\xd9"
_SOI, _SOS, _SOF2, _EOI = 0xD8, 0xDA, 0xC2, 0xD9
# Scan data hold no FF but before 00 (an FF of the data), FF (filling) and the restart markers D0 to D7, which, like 01,
# have no length.
_SEGMENT = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
# Read as scan data only where those of the file end too early; with every restart marker that may be due.
_MORE = b"".join(bytes((i * 73 + 41) % 251 for i in range(64)) + bytes((0xFF, 0xD0 + k)) for k in range(8))


class Extent(NamedTuple):
    """Of the first image in a file: where it ends, whether by an end marker, and whether it came in several scans."""

    stop: int
    ended: bool
    many_scans: bool


def extent(data: bytes) -> Extent:
    """Walks the segments of a JPEG file; what follows the image's own end marker does not count.

    Cameras append previews, second images and radiometric data, which may hold any bytes.
    """
    at, scans, progressive = 2, 0, False
    while found := _SEGMENT.search(data, at):
        marker = found.group(1)[0]
        at = found.end()
        if marker in (_EOI, _SOI):  # a second image before the first one's end: that is missing
            stop = at if marker == _EOI else found.start()
            return Extent(stop, marker == _EOI, progressive or scans > 1)
        at += int.from_bytes(data[at : at + 2], "big")
        if at > len(data):  # cut in a table, which is of no use
            return Extent(found.start(), False, progressive or scans > 1)
        scans += marker == _SOS
        progressive |= marker == _SOF2
    return Extent(len(data), False, progressive or scans > 1)


def lacks_data(image: bytes) -> bool:
    """Whether an image, from its start to its end marker, has less scan data than pixels: libjpeg would only warn.

    Then, and only then, the pixels change with what stands before the end marker.
    """
    try:
        first, second = (_pixels(data) for data in (image, image[: -len(END)] + _MORE + END))
    except (OSError, ValueError, SyntaxError):
        return False  # by another decoder; OpenCV's has had no objection
    return first != second


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:  # silent, where OpenCV prints what libjpeg says
        return picture.tobytes()
