"""What tiles change: python -m benchmarks.tiling

A generated scene with haze, as a whole and in tiles; differences of the 8-bit images, in levels of 255.
"""

import argparse

import numpy as np

from iassf_jax.data.haze import HazeParams, apply_haze
from iassf_jax.fuse.fuser import Fuser, load
from iassf_jax.scenes import SceneSource
from iassf_jax.weights import shipped


def difference(fuser: Fuser, pair: tuple[np.ndarray, np.ndarray], whole: dict[str, np.ndarray]) -> tuple[float, float]:
    """Largest and mean difference of the dehazed and fused images from those of the whole."""
    tiled = fuser(*pair)
    apart = [np.abs(getattr(tiled, name).astype(float) - whole[name]) for name in ("dehazed", "fused")]
    return max(x.max() for x in apart), max(x.mean() for x in apart)


def main() -> None:
    """Prints a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=shipped.DEFAULT)
    parser.add_argument("--size", type=int, nargs=2, default=(768, 1024), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--max-tile", type=int, default=512)
    args = parser.parse_args()
    scene = SceneSource(1, 7, *args.size)[0]
    pair = apply_haze(scene.visible, HazeParams("msrs_release", (0.5,) * 3, 0.025, 0.5, True)), scene.infrared
    fuser = load(args.checkpoint, max_tile=max(args.size))
    whole = fuser(*pair)
    whole = {"dehazed": whole.dehazed, "fused": whole.fused}
    for overlap, refinements in ((0, 1), (32, 1), (64, 0), (64, 1), (64, 2), (128, 1)):
        tiled = load(args.checkpoint, max_tile=args.max_tile, overlap=overlap, refinements=refinements)
        largest, mean = difference(tiled, pair, whole)
        print(f"overlap {overlap:4} refinements {refinements}: largest {largest:.0f}, mean {mean:.2f}", flush=True)


if __name__ == "__main__":
    main()
