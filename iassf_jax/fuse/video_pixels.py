"""Grey videos of 16 bits, which OpenCV would reduce to 8: how they are known, and how they are read as they are."""

import cv2
import numpy as np

from iassf_jax.data import images
from iassf_jax.errors import UserError

# FFmpeg's codes of pixels: letters, a number for the layout, bits; turned round where the first byte is the high one.
_GREY_16, _GREY_16_TURNED = b"Y1\x00\x10", b"\x10\x001Y"
_GREY_16_OF_DEVICES = b"Y16 "  # Video4Linux


class Packets:
    """Frames of pixels with the high byte first, decoded here; with the methods of `cv2.VideoCapture` that read.

    OpenCV gives such pixels at 8 bits only, but hands out the packets of the file: images, or bare pixels.
    """

    def __init__(self, reader: cv2.VideoCapture) -> None:
        reader.set(cv2.CAP_PROP_FORMAT, -1)
        self._reader = reader
        self._size = int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(reader.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.get, self.set, self.grab, self.release = reader.get, reader.set, reader.grab, reader.release

    def read(self) -> tuple[bool, np.ndarray | None]:
        """Whether there is a frame that can be decoded, and it: uint16[H, W]."""
        there, packet = self._reader.read()
        image = self._decoded(packet.tobytes()) if there else None
        return image is not None, image

    def _decoded(self, packet: bytes) -> np.ndarray | None:
        height, width = self._size
        if len(packet) == 2 * height * width:
            return np.frombuffer(packet, ">u2").reshape(self._size).astype(np.uint16)
        try:
            image = images.decode_image("", packet)
        except UserError:
            return None
        return image if image.dtype == np.uint16 and image.shape == self._size else None


Reader = cv2.VideoCapture | Packets


def as_stored(reader: cv2.VideoCapture) -> Reader:
    """A reader, before its first frame, that gives uint16[H, W] where the source holds grey values of 16 bits."""
    code = _code(reader, cv2.CAP_PROP_CODEC_PIXEL_FORMAT)
    if code == _GREY_16_TURNED:
        return Packets(reader)
    if code == _GREY_16 or _code(reader, cv2.CAP_PROP_FOURCC) == _GREY_16_OF_DEVICES:
        reader.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    return reader


def bits(reader: cv2.VideoCapture) -> int:
    """Of each channel of a pixel in the file; 8, where it has fewer."""
    code = _code(reader, cv2.CAP_PROP_CODEC_PIXEL_FORMAT)
    ends = code[0], code[3]
    if b"RGB" in code or b"BGR" in code:  # here the bits are those of all three channels
        return 16 if 48 in ends else 8
    return next((end for end in ends if 8 < end <= 16), 8)


def _code(reader: cv2.VideoCapture, name: int) -> bytes:
    return (int(reader.get(name)) & 0xFFFFFFFF).to_bytes(4, "little")
