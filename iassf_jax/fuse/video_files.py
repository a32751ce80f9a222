"""Reading and writing video files: as they are stored, at 8 or 16 bits, one frame at a time."""

import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What damaged streams make FFmpeg print; what is missing is told by us. Read when the first video is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from iassf_jax.data.notes import Note  # noqa: E402
from iassf_jax.errors import UserError  # noqa: E402
from iassf_jax.fuse.video_pixels import Packets, Reader, as_stored, bits  # noqa: E402

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def is_video(path: str | Path) -> bool:
    """Whether a path is named like a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


@dataclasses.dataclass(frozen=True)
class Video:
    """What a file says of itself.

    Attributes:
        path: the file.
        width, height: of its frames as stored, in pixels.
        frames: how many it announces; 0 if it does not.
        rate: frames a second.
        turn: degrees to the right by which a player turns it: 0, 90, 180 or 270.
        bits: of each pixel in the file.
        is_raw: whether it is read at 16 bits.
    """

    path: str
    width: int
    height: int
    frames: int
    rate: float
    turn: int
    bits: int
    is_raw: bool

    def size(self, turn: int) -> tuple[int, int]:
        """Width and height of its frames after a turn."""
        return (self.height, self.width) if turn in (90, 270) else (self.width, self.height)


class Frames:
    """The frames of a video in their order: uint8[H, W, 3], R, G, B, or uint16[H, W]; `count` is how many there were.

    Args:
        video: as `described` gives it.
        turn: degrees to the right by which each is turned.
    """

    def __init__(self, video: Video, turn: int) -> None:
        self.count = 0
        self._ended = False
        self._video, self._turn = video, turn
        reader = _opened(video.path)
        self._reader = as_stored(reader) if video.is_raw else reader

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        there, frame = self._reader.read()
        if not there:
            self._ended = True
            raise StopIteration
        self.count += 1
        frame = frame if self._video.is_raw else cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        return turned(frame, self._turn)

    def close(self) -> None:
        """Counts what is left, unless the frames have ended: beyond damage there may be more. Closes the file."""
        while not self._ended and self._reader.grab():
            self.count += 1
        self._reader.release()


def described(path: str) -> Video:
    """Opens a video and reads its first frame; raises UserError if there is none."""
    opened = _opened(path)
    depth = bits(opened)
    reader: Reader = as_stored(opened)
    there, frame = reader.read()
    if not there and isinstance(reader, Packets):
        reader.release()
        reader = _opened(path)
        there, frame = reader.read()
    if not there:
        raise UserError(f"{path}: holds no frame that can be decoded: convert it to .mp4 (H.264)")
    count, rate, turn = reader.get(cv2.CAP_PROP_FRAME_COUNT), reader.get(cv2.CAP_PROP_FPS), turn_of(reader)
    reader.release()
    return Video(
        path,
        frame.shape[1],
        frame.shape[0],
        frames=int(max(0, count)),
        rate=rate if math.isfinite(rate) and 0 < rate < 1000 else 25.0,
        turn=turn,
        bits=depth,
        is_raw=frame.dtype == np.uint16,
    )


def compare_rates(pair: tuple[Video, Video], notes: list[Note]) -> None:
    """Rates that drift apart by a frame in a hundred are refused, others told; so are bits that are not read."""
    (first, second), names = (video.rate for video in pair), " and ".join(video.path for video in pair)
    rates = f"{first:g} and {second:g} frames a second"
    if abs(first - second) > 0.01 * first:
        raise UserError(f"{names}: have {rates}: convert one of them, frames are paired by number")
    if abs(first - second) > 1e-4 * first:
        notes.append(Note("the two videos have different frame rates, and their frames are paired by number", rates))
    for video in pair:
        if video.bits > 8 and not video.is_raw:
            about = "a video of more bits was read at 8: convert it to .mkv (ffmpeg -c:v ffv1 -pix_fmt gray16le)"
            notes.append(Note(about, f"{video.path}, {video.bits} bits"))


def turn_of(reader: Reader) -> int:
    """Degrees to the right by which a player turns an open video: 0, 90, 180 or 270."""
    turn = int(reader.get(cv2.CAP_PROP_ORIENTATION_META))
    return turn % 360 if turn % 90 == 0 else 0


def turned(frame: np.ndarray, turn: int) -> np.ndarray:
    """A frame [H, W, ...] after a turn to the right, as `turn_of` gives it."""
    return cv2.rotate(frame, _TURNS[turn]) if turn in _TURNS else frame


def _opened(path: str) -> cv2.VideoCapture:
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such file: give a video")
    level: Any = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        reader = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not reader.isOpened():
        raise UserError(f"{path}: cannot be decoded as a video: convert it to .mp4 (H.264)")
    reader.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return reader


def even(frame: np.ndarray) -> np.ndarray:
    """With the last row and column once more where their number is odd: OpenCV's writer would leave them out."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def writer(scratch: Path, output: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """Opens a video for frames as `even` makes them of (width, height); `output` names it in errors."""
    codec = cv2.VideoWriter.fourcc(*CODECS[output.suffix.lower()])
    opened = cv2.VideoWriter(str(scratch), cv2.CAP_FFMPEG, codec, rate, tuple(n + n % 2 for n in size))
    if not opened.isOpened():
        raise UserError(f"{output}: cannot be written: check the folder and its permissions")
    return opened


def finish(scratch: Path, output: Path, count: int) -> None:
    """Gives a closed video of so many frames its name, or removes it where they are not all in it.

    Raises:
        UserError: the disk was full, or the folder refuses.
    """
    try:
        if _frames_of(scratch) < count:
            raise UserError(f"{output}: the video could not be written in full: free space on its disk")
        os.replace(scratch, output)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}): check the folder and the disk") from None
    finally:
        scratch.unlink(missing_ok=True)


def _frames_of(path: Path) -> int:
    try:
        return described(str(path)).frames
    except UserError:  # a full disk leaves no video at all
        return -1
