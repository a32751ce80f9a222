"""Memory that a large pair takes: python -m benchmarks.large --size 3000 4000 --max-tile 1024

A generated scene, enlarged; peak resident memory of this process, with and without the network's run.
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
    pair = [cv2.resize(x, args.size[::-1], interpolation=cv2.INTER_CUBIC) for x in (scene.visible, scene.infrared)]
    before = memory.peak()
    start = time.perf_counter()
    fused = load(args.checkpoint, max_tile=args.max_tile, refinements=args.refinements)(*pair).fused
    minutes = (time.perf_counter() - start) / 60
    size = f"{fused.shape[1]} x {fused.shape[0]}, max_tile {args.max_tile}"
    peak = f"{memory.peak() / 2**30:.2f} GiB ({before / 2**30:.2f} before)"
    print(f"{size}: peak {peak}, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
