"""Who may ask the page, and how much of what is uploaded stays on disk."""

import ipaddress
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_MEBIBYTE = 2**20


class Uploads:
    """The folder of what people have uploaded, and of copies that are shown to them: the oldest files go first.

    Args:
        folder: need not be there yet; nothing else may lie in it.
        limit: bytes that may stay.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._coming = 0
        self._lock = threading.Lock()

    def expect(self, length: int) -> bool:
        """Makes room for an upload of so many bytes, until `arrived` is told; False where there is none."""
        with self._lock:
            if self._coming + length > self.limit:
                return False
            self._coming += length
            self._remove_oldest()
            return True

    def arrived(self, length: int) -> None:
        """An expected upload is complete, or will not be."""
        with self._lock:
            self._coming -= length

    def make_room(self) -> None:
        """Removes files until what is there keeps the limit."""
        with self._lock:
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        files = []
        for path in self.folder.rglob("*"):
            try:
                if path.is_file():
                    files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            except OSError:  # gone in the meantime
                continue
        total = self._coming + sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size


class Guard:
    """ASGI middleware in front of the page.

    A browser that was led here under a foreign name (DNS rebinding), or by a page of another origin, is refused: it has
    been sent by somebody who is not the user. Addresses of numbers cannot be rebound, so all of them pass.

    Args:
        app: what answers.
        host: that the page listens at.
        names: further host names under which it may be asked, also by way of another server with a port of its own.
        uploads: where they go.
        longest: bytes of an upload, with all of its files.
    """

    def __init__(self, app: Any, host: str, names: Iterable[str], uploads: Uploads, longest: int) -> None:
        self.app = app
        self.names = {name.lower() for name in names}
        self.own_names = {"localhost", host.lower(), *self.names}
        self.uploads = uploads
        self.longest = longest

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Answers one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self._foreign(headers) or self._too_long(scope, headers):
            await _refuse(scope, send, *refusal)
            return
        if not _is_upload(scope):
            await self.app(scope, receive, send)
            return
        length = int(headers["content-length"])
        if not self.uploads.expect(length):
            await _refuse(scope, send, 503, "too many uploads at once: try again in a minute")
            return
        try:
            await self.app(scope, receive, send)
        finally:
            self.uploads.arrived(length)

    def _foreign(self, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        name = _host_name(f"//{host}")
        if not (_is_address(name) or name in self.own_names):
            return 421, f"this page does not answer to {name!r}: start it with --allow-host {name}"
        origin = headers.get("origin")
        if origin is None or origin.lower().partition("://")[2] == host.lower() or _host_name(origin) in self.names:
            return None
        return 403, f"a page of {origin} may not use this one"

    def _too_long(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            return (411, "say how long the content is") if _is_upload(scope) or "transfer-encoding" in headers else None
        longest = self.longest if _is_upload(scope) else _MEBIBYTE
        return (413, f"more than {longest / _MEBIBYTE:.1f} MiB") if int(length) > longest else None


def _is_upload(scope: Any) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload")


def _host_name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(scope: Any, send: Callable[[Any], Awaitable[None]], status: int, words: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = (words.encode("ascii", "backslashreplace").decode() + "\n").encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
