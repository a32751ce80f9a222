"""A camera, file, pipe or stream, read in a thread: newest frames count, and what breaks off is opened again."""

import contextlib
import dataclasses
import os
import re
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from iassf_jax.errors import UserError
from iassf_jax.fuse.video_files import turn_of
from iassf_jax.fuse.video_pixels import Reader, as_stored

_TIMEOUT = 5000  # milliseconds to open a stream, or for its next frame
_RETRIES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before a source is opened again
_KEPT_SECONDS = 0.5  # of frames, beside the delay
_STREAM = re.compile(r"(rtsp|rtsps|http|https|udp|tcp|rtmp)://")


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame: uint8[H, W, 3] (R, G, B) or uint8|uint16[H, W], its number, and when it came.

    The time is of `time.monotonic`; of a file, when the frame was due.
    """

    number: int
    time: float
    image: np.ndarray


class Begin(threading.Event):
    """When files begin to play; `time` says when it was set."""

    time = 0.0

    def set(self) -> None:
        """Files play from now on."""
        if not self.is_set():
            self.time = time.monotonic()
            super().set()


class Camera:
    """Reads a source in a thread.

    Attributes:
        state: "opening", "running", "lost" (and being opened again), "ended" (a file, at its end) or "failed".
        problem: what went wrong, in one line.
        name: the source as messages have it, without a password.
        first: the first frame, as OpenCV gave it.
        turn: degrees to the right by which a player turns a file's frames, which come as they are stored.
    """

    def __init__(
        self,
        source: str | int,
        news: threading.Condition,
        begin: Begin,
        grey: bool = False,
        keep: float = 0.0,
    ) -> None:
        """Starts reading.

        Args:
            source: number of a device, a file, a named pipe, or an address (rtsp, http, udp, tcp).
            news: is notified of every frame and of every change of `state`.
            begin: a file stands at its first frame until this is set.
            grey: 16 bits and one channel stay where the source has them.
            keep: seconds of frames to keep for `nearest`, beside half a second.

        Raises:
            UserError: no such file.
        """
        self.source = int(source) if isinstance(source, int) or str(source).isdecimal() else str(source)
        self.name = _shown(self.source)
        self.state, self.problem = "opening", ""
        self.first: np.ndarray | None = None
        self.turn = 0
        self._kind = _kind(self.source)
        self._news, self._begin = news, begin
        self._grey, self._keep = grey, keep + _KEPT_SECONDS
        self._frames: deque[Frame] = deque()
        self._number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)
        self._thread.start()

    def newest(self) -> Frame | None:
        """The last frame."""
        with self._news:
            return self._frames[-1] if self._frames else None

    def nearest(self, moment: float) -> Frame | None:
        """Of the frames that are kept, the one that came nearest to a moment."""
        with self._news:
            return min(self._frames, key=lambda frame: abs(frame.time - moment), default=None)

    def close(self) -> None:
        """Stops reading; a read that hangs ends with the process."""
        self._stop.set()
        self._thread.join(0.5)

    def _run(self) -> None:
        tries = 0
        while not self._stop.is_set():
            before, why = self._number, ""
            try:
                self._open_and_read()
            except Exception as error:  # if this thread died, nobody would be told
                why = _shown(" ".join(f"{type(error).__name__}: {error}".split()))
            if self._number == 0:
                why = why or "gives no frame"
                self._set("failed", f"{self.name}: {why}: check the camera, the file or the address")
                return
            if self._kind == "file":
                self._set("failed" if why else "ended", f"{self.name}: {why or 'is at its end'}")
                return
            self._set("lost", f"{self.name}: {why or 'broke off'}")
            tries = 0 if self._number > before else tries + 1
            self._stop.wait(_RETRIES[min(tries, len(_RETRIES) - 1)])

    def _open_and_read(self) -> None:
        with _address(self.source, self._kind, self._stop) as address:
            reader = None if self._stop.is_set() else _opened(address, self._kind, self._grey)
            if reader is None:
                return
            try:
                if self._kind == "file":
                    self.turn = turn_of(reader)
                    reader.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
                self._read(reader)
            finally:
                reader.release()

    def _read(self, reader: Reader) -> None:
        """Reads to the end of the source; a file at its own pace."""
        rate = reader.get(cv2.CAP_PROP_FPS)
        pause = 1 / (rate if 0 < rate < 1000 else 25) if self._kind == "file" else 0.0
        if pause:
            self._play(reader, pause)
            return
        while not self._stop.is_set():
            there, image = reader.read()
            if not there or image is None:
                return
            self._add(image, time.monotonic())

    def _play(self, reader: Reader, pause: float) -> None:
        """A file: its first frame, and from the beginning on each at its time; what comes too late is passed over."""
        there, image = reader.read()
        due = time.monotonic()
        while there and image is not None and not self._stop.is_set():
            self._add(image, due)
            if self._number == 1:
                while not self._begin.wait(0.2):
                    if self._stop.is_set():
                        return
                due = self._begin.time
            due += pause
            while due + pause < time.monotonic() and reader.grab():
                self._number += 1
                due += pause
            self._stop.wait(max(0.0, due - time.monotonic()))
            there, image = reader.read()

    def _add(self, image: np.ndarray, moment: float) -> None:
        self.first = image if self.first is None else self.first
        image = _channels(image, self._grey)
        with self._news:
            self._number += 1
            self._frames.append(Frame(self._number, moment, image))
            while len(self._frames) > 1 and self._frames[0].time < moment - self._keep:
                self._frames.popleft()
            self.state, self.problem = "running", ""
            self._news.notify_all()

    def _set(self, state: str, problem: str) -> None:
        with self._news:
            self.state, self.problem = state, problem
            self._news.notify_all()


def _shown(source: str | int) -> str:
    """A source for all eyes: messages stand in pictures, recordings and journals."""
    return re.sub(r"//[^/@]*@", "//", str(source))


def _kind(source: str | int) -> str:
    """What a source is: "device", "stream", "pipe" or "file"."""
    if isinstance(source, int):
        return "device"
    if _STREAM.match(source):
        return "stream"
    try:
        mode = Path(source).stat().st_mode
    except OSError:
        raise UserError(
            f"{_shown(source)}: is not there: give a device's number, a file, a pipe, or an address such as rtsp://..."
        ) from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{source}: is a folder: give a device's number, a file, a pipe, or an address")
    if stat.S_ISCHR(mode):
        return "device"
    return "file" if stat.S_ISREG(mode) else "pipe"


@contextlib.contextmanager
def _address(source: str | int, kind: str, stop: threading.Event) -> Iterator[str | int]:
    """What OpenCV is to open; of a pipe once something is in it, or when stopped.

    OpenCV would wait for that with a lock, and no other video could be opened meanwhile.
    """
    if kind != "pipe":
        yield source
        return
    descriptor = os.open(source, os.O_RDONLY)  # waits for a writer
    try:
        while not stop.is_set() and not select.select([descriptor], [], [], 0.2)[0]:
            pass
        yield f"pipe:{descriptor}"
    finally:
        os.close(descriptor)  # not before the reader is done: FFmpeg before 6 reads this very one


def _opened(source: str | int, kind: str, grey: bool) -> Reader | None:
    if kind == "device":
        reader = cv2.VideoCapture(source)
        reader.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    else:
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT]
        reader = cv2.VideoCapture(source, cv2.CAP_FFMPEG, options)
    if not reader.isOpened():
        reader.release()
        return None
    return as_stored(reader) if grey else reader


def _channels(image: np.ndarray, grey: bool) -> np.ndarray:
    """R, G, B of OpenCV's order; of a grey source one channel."""
    if image.ndim == 3 and image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if grey else cv2.COLOR_BGR2RGB)
    return image.reshape(image.shape[:2])
