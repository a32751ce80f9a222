"""What a table on a Ray cluster costs beside a folder: python -m benchmarks.bulk [--pairs N] [--rounds N] [--cpu N]

The same generated pairs by `fuse --visible --infrared` and by `fuse --pairs --engine ray --workers 1`, one after the
other, each with all of its processes on one core. Counted is what comes after the first results, those of one chunk:
starting, compiling and Ray's own start are left out. CPU seconds, of all processes together, are what a machine that
does other things as well does not change.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from iassf_jax.data import images
from iassf_jax.scenes import SceneSource
from iassf_jax.weights import shipped

CHUNK = 64  # pairs that a worker gets at a time
WAYS = {
    "folder": ("--visible", "vi", "--infrared", "ir"),
    "ray": ("--pairs", "pairs.csv", "--engine", "ray", "--workers", "1", "--gpus-per-worker", "0"),
}


def write_pairs(folder: Path, count: int, height: int, width: int) -> None:
    """A generated scene, shifted for each pair, and the table of the pairs."""
    scene = SceneSource(1, 7, height, width)[0]
    for i in range(count):
        for side, image in (("vi", scene.visible), ("ir", scene.infrared)):
            images.write_image(folder / side / f"{i:05d}.png", np.roll(image, 7 * i, axis=1))
    lines = [f"vi/{i:05d}.png,ir/{i:05d}.png\n" for i in range(count)]
    (folder / "pairs.csv").write_text("visible,infrared\n" + "".join(lines))


def cpu_seconds(root: int) -> float:
    """Of a process and all below it, also of those that have ended."""
    found, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:  # ended in the meantime
            continue
        pid = int(path.parent.name)
        parents[pid], found[pid] = int(words[1]), sum(map(int, words[11:15]))
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(found.get(pid, 0) for pid in below) / os.sysconf("SC_CLK_TCK")


def seconds_a_pair(folder: Path, way: str, checkpoint: str, count: int) -> tuple[float, float]:
    """By the clock and of the CPU, from the last result of the first chunk to the last of all."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        command = [sys.executable, "-m", "iassf_jax", "fuse", "--checkpoint", checkpoint, "--output", output]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
        process = subprocess.Popen([*command, *WAYS[way]], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        marks: list[tuple[int, float, float]] = []
        while process.poll() is None and (not marks or marks[-1][0] < count):
            done = sum(1 for _ in Path(output).glob("*.png"))
            if done >= CHUNK:
                marks.append((done, time.monotonic(), cpu_seconds(process.pid)))
            time.sleep(0.1)
        if process.wait() or len(marks) < 2:
            sys.exit(f"error: {way}: exit code {process.returncode}, or all results came at once: raise --pairs")
    (first, *begin), (last, *end) = marks[0], marks[-1]
    return tuple((b - a) / (last - first) for a, b in zip(begin, end, strict=True))


def main() -> None:
    """Prints each round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=shipped.DEFAULT)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--pairs", type=int, default=4 * CHUNK, help=f"more than {CHUNK} (default: {4 * CHUNK})")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", type=int, default=min(os.sched_getaffinity(0)), help="the core that all of it runs on")
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.cpu})
    found = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), args.pairs, *args.size)
        for _ in range(args.rounds):
            for way in WAYS:
                found[way].append(seconds_a_pair(Path(folder), way, args.checkpoint, args.pairs))
                print(way, *(f"{1000 * x:.1f} ms" for x in found[way][-1]), flush=True)
    for i, what in enumerate(("by the clock", "of the CPU")):
        plain, on_ray = (1000 * statistics.median(seconds[i] for seconds in found[way]) for way in WAYS)
        print(f"{what}, medians: {plain:.1f} and {on_ray:.1f} ms a pair, {100 * (on_ray / plain - 1):.1f} % more")


if __name__ == "__main__":
    main()
