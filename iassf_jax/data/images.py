"""Read and write image files, and the value ranges used everywhere else.

Files hold uint8 or uint16; networks take float32 in [-1, 1]. Nothing here imports jax: data workers run it.
"""

import dataclasses
import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from iassf_jax.data import jpeg
from iassf_jax.data.image_headers import BadHeader, header_size, png_pixels
from iassf_jax.data.notes import Note
from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]

_LIMIT_NAME = "OPENCV_IO_MAX_IMAGE_PIXELS"
# OpenCV reads its limit once, while it is being imported, so the variable has to be there first.
os.environ.setdefault(_LIMIT_NAME, str(1 << 28))

import cv2  # noqa: E402

_limit_text = os.environ[_LIMIT_NAME]
# 2^28 pixels are 16384 x 16384, about 800 MB of 8-bit RGB. A user who needs more sets the variable.
MAX_PIXELS = int(_limit_text) if _limit_text.isdecimal() else 1 << 28

# More than four channels of 64 bits, and what else a file may hold: other pages, previews, profiles.
_BYTES_PER_PIXEL, _SPARE_BYTES = 32, 1 << 27

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SUFFIXES_16_BIT = (".png", ".tif", ".tiff")
LUMA_601 = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True)
class Reading:
    """What may be read beside whole images of 8 and 16 bits.

    Attributes:
        damaged: JPEG files that are cut off, as far as they go; the rest is grey.
        numbers: TIFF files of other types, e.g. temperatures as floats.
    """

    damaged: bool = False
    numbers: bool = False


STRICT = Reading()


def _open(path: PathLike) -> BinaryIO:
    """Opens a regular file for reading, and says what is wrong when there is none."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):  # opening a pipe would wait for ever
            return open(path, "rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: check the path") from None
    except PermissionError:
        raise UserError(f"{path}: may not be read: change its permissions") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be opened ({error}): check the path") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{path}: is a folder, not an image: name one of the files in it")
    raise UserError(f"{path}: is not a regular file: copy the image to one")


def _checked_size(path: PathLike, file: BinaryIO) -> tuple[int, int]:
    try:
        height, width = header_size(file)
        length = file.seek(0, os.SEEK_END)
    except BadHeader as error:
        raise _refused(path, error) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): copy or download it again") from None
    if height < 1 or width < 1:
        raise UserError(f"{path}: its header says {width} x {height} pixels: copy or download it again")
    if height * width > MAX_PIXELS:
        raise UserError(
            f"{path}: {width} x {height} pixels are more than the limit of {MAX_PIXELS}: make it smaller, "
            f"or set the environment variable {_LIMIT_NAME}"
        )
    if length > _SPARE_BYTES + _BYTES_PER_PIXEL * height * width:
        raise UserError(f"{path}: {length >> 20} MiB are too many for {width} x {height} pixels: save the image alone")
    return height, width


def _refused(path: PathLike, error: BadHeader) -> UserError:
    reason = str(error)
    return UserError(f"{path}: {reason}" + ("" if ":" in reason else ": copy or download it again"))


def image_size(path: PathLike) -> tuple[int, int]:
    """Height and width of an image file in pixels, from its header alone: nothing is decoded.

    Args:
        path: a PNG, JPEG, WebP, BMP or TIFF file (told apart by content, not by name).

    Returns:
        `(height, width)` as stored; an EXIF orientation is not applied. Of several pages, the first.

    Raises:
        UserError: no such file, not an image, a damaged header, or more than `MAX_PIXELS` pixels.
    """
    with _open(path) as file:
        return _checked_size(path, file)


def read_image(path: PathLike, how: Reading = STRICT, notes: list[Note] | None = None) -> Array:
    """Reads an image file as it is stored.

    Palettes are resolved and alpha is dropped. An EXIF orientation is NOT applied: fusion needs the two
    images of a pair pixel on pixel, cameras often write the tag into one of them only, and registered data
    sets are registered as stored. Of an animation or a file of several pages the first is read, and what
    cameras append to a JPEG file is passed over.
    TIFF files that OpenCV would misread are refused: transparent 8-bit ones, and of 16 bits those with alpha
    beside grey, with white as 0, or with separate planes.
    Truncated files are refused; damage inside the data is seen in PNG (checksums), elsewhere not always.

    Args:
        path: a PNG, JPEG, WebP, BMP or TIFF file (told apart by content, not by name).
        how: what else may be read.
        notes: what should be said of the file is appended to it.

    Returns:
        uint8 or uint16 `[H, W]` (grey) or `[H, W, 3]` (R, G, B).

    Raises:
        UserError: the file is missing, unreadable, no image, too large, truncated, or not of 8 or 16 bits.
    """
    return decode_image(path, read_file(path), how, notes)


def read_file(path: PathLike) -> bytes:
    """The content of an image file whose header is good, for `decode_image`; Raises as `read_image`."""
    with _open(path) as file:
        _checked_size(path, file)  # before the whole file is read: it may be huge, or endless
        file.seek(0)
        try:
            return file.read()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}): copy or download it again") from None


def decode_image(path: PathLike, data: bytes, how: Reading = STRICT, notes: list[Note] | None = None) -> Array:
    """`read_image` of a file's content; `path` names it in errors."""
    size = _checked_size(path, io.BytesIO(data))
    try:
        image, whole = _decode_jpeg(data, size) if data.startswith(b"\xff\xd8") else (_decode(data, size), True)
    except BadHeader as error:
        raise _refused(path, error) from None
    if image is not None and not whole:
        if not how.damaged:
            raise UserError(
                f"{path}: is truncated, its data end before the image does: copy or download it again, or read "
                "what is there (--damaged read)"
            )
        if notes is not None:
            notes.append(Note("is truncated and was read as far as it goes"))
    if image is None:
        raise UserError(f"{path}: is truncated or damaged and cannot be decoded: copy or download it again")
    if image.dtype not in (np.uint8, np.uint16) and not (how.numbers and image.dtype.kind in "uif"):
        raise UserError(f"{path}: holds {image.dtype} values: save it as an 8-bit or 16-bit image")
    if image.ndim == 2 or image.shape[2] == 1:
        return image.reshape(size)
    if image.shape[2] not in (3, 4):
        raise UserError(f"{path}: has {image.shape[2]} channels: save it as grey, RGB or RGBA")
    if image.shape[2] == 4 and image.dtype == np.uint8 and data[:2] in (b"II", b"MM") and (image[..., 3] < 255).any():
        raise UserError(f"{path}: is a TIFF with transparent pixels, whose colours OpenCV darkens: save it as PNG")
    if image.dtype not in (np.uint8, np.uint16):  # of which OpenCV converts few types
        return np.ascontiguousarray(image[..., 2::-1])
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGB)


def _decode(data: bytes, size: tuple[int, int]) -> Array | None:
    """What OpenCV makes of a file: B, G, R; None where that is nothing, or of another (height, width)."""
    if data.startswith(b"\x89PNG"):
        data = png_pixels(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return image if image is not None and image.shape[:2] == size else None


def _decode_jpeg(data: bytes, size: tuple[int, int]) -> tuple[Array | None, bool]:
    """As `_decode`, and whether the image is whole."""
    data, extent = jpeg.first_image(data)
    if not extent.ended:
        return _decode(data + jpeg.END, size), False
    image = _decode(data, size)
    return image, image is None or not jpeg.lacks_data(data, extent, image)


def read_visible(path: PathLike, how: Reading = STRICT, notes: list[Note] | None = None) -> Array:
    """Reads a visible image.

    Args:
        path: the image file; a grey one is repeated to three channels.
        how, notes: as of `read_image`.

    Returns:
        uint8 or uint16 `[H, W, 3]`, R, G, B.

    Raises:
        UserError: as `read_image`.
    """
    return three_channels(read_image(path, how, notes))


def three_channels(image: Array) -> Array:
    """`[H, W, 3]` of that, or of `[H, W]`, repeated."""
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def read_infrared(path: PathLike, how: Reading = STRICT, notes: list[Note] | None = None) -> Array:
    """Reads an infrared image as one channel.

    Args:
        path: the image file; one of three equal channels loses two of them, a coloured one becomes its luma.
        how, notes: as of `read_image`.

    Returns:
        uint8 or uint16 `[H, W]`.

    Raises:
        UserError: as `read_image`.

    Source:
        Luma: ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B, rounded to nearest.
    """
    return one_channel(read_image(path, how, notes))


def one_channel(image: Array) -> Array:
    """`[H, W]` of `[H, W]`, `[H, W, 1]` or `[H, W, 3]`: the channel if all are equal, else the luma (ITU-R BT.601)."""
    if image.ndim == 2:
        return image
    first = image[..., 0]
    if (image == image[..., :1]).all() or image.shape[2] == 1:
        return np.ascontiguousarray(first)
    luma = image @ LUMA_601
    return (luma if image.dtype.kind == "f" else np.rint(luma)).astype(image.dtype)


def open_npy(path: PathLike) -> Array:
    """Opens a .npy file memory-mapped; a UserError if it is missing, truncated, or no numbers of shape `[H, W]`."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as .npy ({str(error).splitlines()[0]}): save it again") from None
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "uif":
        raise UserError(f"{path}: holds {array.dtype} of shape {array.shape}: save numbers of shape [H, W]")
    return array


def to_float(image: Array) -> Array:
    """Brings an image to 0..1.

    Args:
        image: uint8 or uint16 of any shape, divided by 255 or 65535; or float in 0..1, which passes.

    Returns:
        float32, same shape, 0..1.

    Raises:
        UserError: another type, an empty array, or float values that are not finite or outside 0..1.
    """
    image = np.asarray(image)
    if image.size == 0:
        raise UserError(f"the image is empty (shape {image.shape}): check how it was read or cropped")
    if image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if image.dtype.kind != "f":
        raise UserError(f"the image holds {image.dtype} values: pass uint8, uint16, or float in 0..1")
    low, high = float(image.min()), float(image.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # min and max of an array with NaN are NaN
        raise UserError("the float image holds NaN or infinity: mend those pixels first")
    if low < 0 or high > 1:
        raise UserError(f"the float image runs from {low:g} to {high:g}: scale it to 0..1, or pass uint8 or uint16")
    return image.astype(np.float32)


def to_signed(image: Array) -> Array:
    """`to_float` (same Args and Raises), brought to the range of the networks: float32, same shape, -1..1."""
    return to_float(image) * np.float32(2) - np.float32(1)


def to_8_bits(image: Array) -> Array:
    """uint8 as it is; uint16 rounded to uint8, as shown and as fused images are scored."""
    return image if image.dtype == np.uint8 else np.round(image / 257).astype(np.uint8)


def to_uint8(image: Array) -> Array:
    """Turns network output into 8 bits by rounding to nearest; the inverse of `to_signed` for uint8.

    Args:
        image: float of any shape, nominally -1..1; what lies outside is clipped.

    Returns:
        uint8, same shape: round(255 * (0.5 * clip(image, -1, 1) + 0.5)), ties to even.

    Raises:
        UserError: the values hold NaN.
    """
    image = np.asarray(image, np.float32)
    check_result(bool(np.isnan(image).any()))
    return np.rint(255 * (np.clip(image, -1, 1) * np.float32(0.5) + np.float32(0.5))).astype(np.uint8)


def check_result(nan: bool) -> None:
    """Refuses a network's result that holds NaN, which would become any grey level."""
    if nan:
        raise UserError("the network's result holds NaN: its weights are broken, or do not suit such images")


def in_grey(values: Array) -> Array:
    """Numbers in 0..1, such as a haze density, as the grey levels 0..255: float of any shape -> uint8, same shape."""
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def write_image(path: PathLike, image: Array) -> bytes:
    """Writes an image file as a whole or not at all, and gives its content; parent folders are made.

    PNG, BMP, TIFF and WebP are written without loss, JPEG with OpenCV's quality 95.

    Args:
        path: the file to write or replace; its suffix chooses the format.
        image: uint8 or uint16 `[H, W]` or `[H, W, 3]` (R, G, B); uint16 only as PNG or TIFF.

    Raises:
        UserError: an unknown suffix, an array that is no such image, or a folder or disk that refuses.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise UserError(f"{path}: cannot write the format '{suffix}': use one of {' '.join(IMAGE_SUFFIXES)}")
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: the image to write holds {image.dtype} values: bring it to uint8 first (to_uint8)")
    if image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise UserError(f"{path}: an array of shape {image.shape} is no image: pass [H, W] or [H, W, 3]")
    if image.dtype == np.uint16 and suffix not in _SUFFIXES_16_BIT:
        raise UserError(f"{path}: '{suffix}' cannot hold 16 bits: use .png or .tif, or bring the image to uint8")
    data = encode_image(path, image, suffix)
    write_bytes(path, data)
    return data


def encode_image(path: PathLike, image: Array, suffix: str, options: Sequence[int] = ()) -> bytes:
    """The content of an image file: uint8 or uint16 `[H, W]` or `[H, W, 3]` (R, G, B).

    Args:
        path: names it in errors.
        image: the pixels.
        suffix: the format, with its dot.
        options: OpenCV's, of that format.

    Raises:
        UserError: the format cannot hold it.
    """
    if image.ndim == 3:
        image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    try:
        done, data = cv2.imencode(suffix, image, options)
    except cv2.error:
        done = False
    if not done:
        raise UserError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels do not fit '{suffix}': use .png")
    return data.tobytes()
