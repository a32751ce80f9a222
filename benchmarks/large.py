"""Memory and time that a large pair takes: python -m benchmarks.large --size 3000 4000

A generated scene, enlarged; peak resident memory of this process, with and without the network's run, and how many
times as long a second run takes as one of 640x480.
"""

import argparse
import time

import cv2

from benchmarks import memory
from iassf_jax.fuse.fuser import load
from iassf_jax.scenes import SceneSource
from iassf_jax.weights import shipped


def main() -> None:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=shipped.DEFAULT)
    parser.add_argument("--size", type=int, nargs=2, default=(3000, 4000), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--max-tile", type=int, default=1024)
    parser.add_argument("--refinements", type=int, default=1)
    args = parser.parse_args()
    scene = SceneSource(1, 3, 750, 1000)[0]
    fuser = load(args.checkpoint, max_tile=args.max_tile, refinements=args.refinements)
    before = memory.peak()
    seconds = {}
    for size in ((480, 640), tuple(args.size)):
        pair = [cv2.resize(x, size[::-1], interpolation=cv2.INTER_CUBIC) for x in (scene.visible, scene.infrared)]
        fuser(*pair)
        start = time.perf_counter()
        fuser(*pair)
        seconds[size] = time.perf_counter() - start
    times = seconds[tuple(args.size)] / seconds[480, 640]
    peak = f"{memory.peak() / 2**30:.2f} GiB ({before / 2**30:.2f} before)"
    print(f"{args.size[1]} x {args.size[0]}: peak {peak}, {times:.1f} times as long as 640 x 480")


if __name__ == "__main__":
    main()
