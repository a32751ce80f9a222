"""Where live pictures go: a window, a video file, or a web address of this machine."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from iassf_jax.errors import UserError
from iassf_jax.fuse import video_files
from iassf_jax.fuse.video_files import CODECS

_RATE = 10.0  # frames a second of a file, in which pictures stand as long as they did
_TITLE = "iassf_jax live"
_BOUNDARY = "picture"
_SILENCE = 30.0  # seconds in which a client sends no request, or takes nothing of a picture


class Window:
    """A window on this machine's screen."""

    def __init__(self) -> None:
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("there is no screen for a window: give --output FILE, or --output http://127.0.0.1:8080")
        try:
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error:
            raise UserError("this OpenCV makes no windows: give --output FILE, or http://127.0.0.1:8080") from None

    def show(self, picture: np.ndarray, seconds: float) -> str:
        """Shows uint8[H, W, 3]; the key that was pressed, "q" where the window was closed, or ""."""
        cv2.imshow(_TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        code = cv2.waitKey(1) & 0xFF
        if cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        return "" if code == 255 else "q" if code == 27 else chr(code)

    def close(self) -> None:
        """Closes the window."""
        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(_TITLE)


class Recording:
    """A video file of constant rate, whole once it is closed; until then it has a hidden name."""

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise UserError(f"{path}: a recording is a file that ends in one of {', '.join(CODECS)}: name it so")
        if self.path.exists() and not overwrite:
            raise UserError(f"{path}: is there already: choose another, or --overwrite")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}): choose another folder") from None
        # Not as `files.scratch_of` names it: `fuse` into the same folder sweeps those away.
        self._scratch = self.path.with_name(f".{self.path.stem}.{os.getpid()}.tmp{self.path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._first, self._count = 0.0, 0

    def show(self, picture: np.ndarray, seconds: float) -> str:
        """Writes uint8[H, W, 3] of a moment in seconds; as often as its time and the file's rate say."""
        if self._writer is None:
            self._first = seconds
            self._size = tuple(n + n % 2 for n in picture.shape[1::-1])
            self._writer = video_files.writer(self._scratch, self.path, _RATE, self._size)
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        wanted = int((seconds - self._first) * _RATE) + 1
        for _ in range(wanted - self._count):
            self._writer.write(bgr)
        self._count = max(self._count, wanted)
        return ""

    def close(self) -> None:
        """Gives the file its name; a UserError where it could not be written in full."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            video_files.finish(self._scratch, self.path, self._count)


class WebStream:
    """Pictures at an address of this machine, as a browser and most players show them (MJPEG)."""

    def __init__(self, address: str) -> None:
        try:
            parts = urlsplit(address)
            host, port = parts.hostname or "127.0.0.1", parts.port or 8080
        except ValueError:
            raise UserError(f"{address}: has no good host or port: give e.g. http://127.0.0.1:8080") from None
        if parts.scheme != "http":
            raise UserError(f"{address}: pictures are served over http alone: give e.g. http://127.0.0.1:8080")
        self._news = threading.Condition()
        self._jpeg, self._number, self._closed = b"", 0, False
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(self))
        except OSError as error:
            raise UserError(f"{address}: cannot be served ({error.strerror}): use another port") from None
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="web stream", daemon=True).start()

    def show(self, picture: np.ndarray, seconds: float) -> str:
        """Makes uint8[H, W, 3] the newest picture."""
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
        with self._news:
            self._jpeg, self._number = jpeg, self._number + 1
            self._news.notify_all()
        return ""

    def pictures(self) -> Iterator[bytes]:
        """JPEGs as they come; a slow reader misses some."""
        seen = 0
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._number > seen)  # noqa: B023
                if self._closed:
                    return
                jpeg, seen = self._jpeg, self._number
            yield jpeg

    def close(self) -> None:
        """Ends the server."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._server.shutdown()
        self._server.server_close()


def _handler(stream: WebStream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENCE

        def do_GET(self) -> None:
            """The stream, at every path."""
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever looked has left
                for jpeg in stream.pictures():
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return Handler


def open_output(where: str, overwrite: bool = False, sources: Iterable[str] = ()) -> Window | Recording | WebStream:
    """ "window", an http address, or a video file, which may not be one of the sources.

    Raises:
        UserError: it cannot be opened.
    """
    if where == "window":
        return Window()
    if "://" in where:
        return WebStream(where)
    if Path(where).resolve() in (Path(source).resolve() for source in sources):
        raise UserError(f"{where}: is an input and would be overwritten: choose another --output")
    return Recording(where, overwrite)
