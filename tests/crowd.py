"""python -m tests.crowd --people N --minutes M: many people at once on the page of `iassf-jax demo`.

Each uploads a pair, has it fused, and begins again, over HTTP as a browser does. Every answer must be a result or "the
queue is full", and the server's memory and what it keeps on disk must stay flat after a first fifth of the time.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from iassf_jax.data import images

SIZES = ((96, 128), (120, 160))
FIELDS = 11  # of the job: two files and the options


class Person(threading.Thread):
    """Uses the page until a time; `fused`, `full` and `failed` say what came of it."""

    def __init__(self, url: str, folder: Path, number: int, until: float) -> None:
        super().__init__(daemon=True)
        self.url, self.until = url, until
        self.session = secrets.token_hex(6)
        self.pair = [folder / f"{side}{number % len(SIZES)}.png" for side in ("visible", "infrared")]
        self.fused = self.full = 0
        self.failed: list[str] = []

    def run(self) -> None:
        """Job after job."""
        config = json.loads(self._ask("/config"))
        job = next(x for x in config["dependencies"] if len(x["inputs"]) == FIELDS)
        weights = next(x["props"]["value"] for x in config["components"] if x["id"] == job["inputs"][2])
        while time.monotonic() < self.until and not self.failed:
            try:
                files = [self._upload(path) for path in self.pair]
                self._fuse(job["id"], [*files, weights, False, 1, 99, False, 1, 1, None, None])
            except (OSError, ValueError, KeyError) as error:
                self.failed.append(f"{type(error).__name__}: {error}"[:300])

    def _fuse(self, function: int, data: list[Any]) -> None:
        request = {"data": data, "fn_index": function, "session_hash": self.session, "event_data": None}
        try:
            self._ask("/gradio_api/queue/join", json.dumps(request | {"trigger_id": None}).encode(), "application/json")
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            self.full += 1
            time.sleep(1)
            return
        address = f"{self.url}/gradio_api/queue/data?session_hash={self.session}"
        with urllib.request.urlopen(address, timeout=300) as stream:
            for line in stream:
                message = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if message.get("msg") == "process_completed":
                    text = json.dumps(message.get("output"))
                    if "iassf-done" in text:
                        self.fused += 1
                    else:
                        self.failed.append(text[:300])
                    return
        self.failed.append("the stream ended without a result")

    def _upload(self, path: Path) -> dict[str, Any]:
        edge = secrets.token_hex(8)
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
        body = head.encode() + path.read_bytes() + f"\r\n--{edge}--\r\n".encode()
        (there,) = json.loads(self._ask("/gradio_api/upload", body, f"multipart/form-data; boundary={edge}"))
        return {"path": there, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def _ask(self, path: str, body: bytes | None = None, kind: str | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind} if kind else {})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read()


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def on_disk(folder: Path) -> int:
    """Bytes of the files in a folder, some of which may go in the meantime."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def crowd(people: int, minutes: float, folder: Path) -> dict[str, Any]:
    """Starts a page, lets people use it, ends it; how many jobs ended how, and the memory and disk over time."""
    for i, size in enumerate(SIZES):
        rng = np.random.default_rng(i)
        images.write_image(folder / f"visible{i}.png", rng.integers(0, 256, (*size, 3), np.uint8))
        images.write_image(folder / f"infrared{i}.png", rng.integers(0, 256, size, np.uint8))
    (folder / "tmp").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "iassf_jax", "demo", "--port", str(port), "--max-pixels", "20000"]
    with subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=open(folder / "errors", "w"),
        text=True,
    ) as server:
        try:
            if "the page is at" not in server.stdout.readline():
                raise RuntimeError((folder / "errors").read_text())
            until = time.monotonic() + 60 * minutes
            persons = [Person(f"http://127.0.0.1:{port}", folder, i, until) for i in range(people)]
            for person in persons:
                person.start()
            memory, disk = [], []
            while any(person.is_alive() for person in persons):
                time.sleep(minutes)  # sixty times
                memory.append(resident(server.pid))
                disk.append(on_disk(folder / "tmp"))
        finally:
            server.send_signal(signal.SIGTERM)
    return {
        "fused": sum(person.fused for person in persons),
        "full": sum(person.full for person in persons),
        "failed": [words for person in persons for words in person.failed],
        "memory": memory,
        "disk": disk,
        "left": len(list((folder / "tmp").glob("iassf-demo*"))),
        "errors": (folder / "errors").read_text(),
    }


def main() -> int:
    """The command; 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.crowd", description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = crowd(args.people, args.minutes, Path(folder))
    for name in ("memory", "disk"):
        print(name, *(f"{x / 2**20:.0f}" for x in found[name][:: max(1, len(found[name]) // 12)]), "MiB")
    print(f"{found['fused']} pairs fused, {found['full']} times the queue was full, {len(found['failed'])} failures")
    print(*found["failed"][:5], sep="\n")
    return 1 if found["failed"] or found["left"] or "Traceback" in found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
