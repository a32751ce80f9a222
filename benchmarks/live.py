"""Frames a second, latency and memory of live: python -m benchmarks.live [--seconds 60] [--size 480 640]

Two films of a generated moving scene stand for the cameras, at 30 frames a second, as JPEGs in named pipes, there and
back for ever. The first ten results are not counted: they compile.
"""

import argparse
import contextlib
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

import iassf_jax
from iassf_jax.data.haze import HazeParams, apply_haze
from iassf_jax.scenes import SceneSource
from iassf_jax.weights import shipped

_RATE = 30
_FRAMES = 60


def moving_scene(frames: int, height: int, width: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames of a scene: visible uint8[H, W, 3] with haze and noise, infrared uint8[H, W]; the object crosses below."""
    scene = SceneSource(1, seed, height, width)[0]
    hazy = apply_haze(scene.visible, HazeParams("homogeneous", (0.8, 0.8, 0.8), 0.7))
    rng = np.random.default_rng(seed)
    size = height // 3
    for i in range(frames):
        visible, infrared = hazy.astype(np.float32), scene.infrared.astype(np.float32)
        left = round((i + 0.5) / frames * (width + size)) - size
        area = slice(height - size, height), slice(max(0, left), max(0, left + size))
        visible[area], infrared[area] = 250, 255
        noisy = (x + rng.normal(0, 3, x.shape) for x in (visible, infrared))
        yield tuple(np.clip(np.rint(x), 0, 255).astype(np.uint8) for x in noisy)


def films(height: int, width: int) -> list[list[bytes]]:
    """JPEGs of the visible and of the infrared frames."""
    frames = list(moving_scene(_FRAMES, height, width))
    return [[cv2.imencode(".jpg", frame[side])[1].tobytes() for frame in frames] for side in (0, 1)]


def play(film: list[bytes], pipe: Path, stop: threading.Event) -> None:
    """Feeds a pipe with the film at its own pace, there and back for ever."""
    due = time.monotonic()
    with contextlib.suppress(BrokenPipeError), open(pipe, "wb", buffering=0) as file:
        for jpeg in itertools.cycle(film + film[::-1]):
            file.write(jpeg)
            due = max(due + 1 / _RATE, time.monotonic() - 1)
            if stop.wait(max(0.0, due - time.monotonic())):
                return


def resident() -> float:
    """Of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Prints a line every ten seconds, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=shipped.DEFAULT)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    args = parser.parse_args()
    fuser, stop = iassf_jax.load(args.checkpoint), threading.Event()
    with tempfile.TemporaryDirectory() as name:
        pipes = [Path(name) / f"{side}.mjpeg" for side in ("visible", "infrared")]
        for film, pipe in zip(films(*args.size), pipes, strict=True):
            os.mkfifo(pipe)
            threading.Thread(target=play, args=(film, pipe, stop), daemon=True).start()
        measure(iassf_jax.live(*map(str, pipes), fuser=fuser), args.seconds)
        stop.set()


def measure(live: "iassf_jax.live.Live", seconds: float) -> None:
    """Runs the loop so long."""
    latencies, begin, work, told, dropped = [], 0.0, 0.0, 0.0, 0
    for i, frame in enumerate(frame for frame in live if not frame.stale):
        now = time.monotonic()
        if i == 10:
            begin, work, told, dropped = now, time.process_time(), now, frame.dropped
        if i > 10:
            latencies.append(frame.latency)
            if now > told + 10:
                told = now
                print(f"{now - begin:6.0f} s: {frame.rate:.1f} a second, {resident():.0f} MB", flush=True)
            if now > begin + seconds:
                break
    live.close()
    count, passed = len(latencies), time.monotonic() - begin
    print(
        f"{count / passed:.1f} results a second, {1000 * (time.process_time() - work) / count:.0f} ms of a core each; "
        f"latency {1000 * np.median(latencies):.0f} ms, 95 % below {1000 * np.percentile(latencies, 95):.0f} ms; "
        f"{frame.dropped - dropped} camera frames left out; {resident():.0f} MB"
    )


if __name__ == "__main__":
    main()
