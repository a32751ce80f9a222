"""Flicker of a fused video with and without smoothed statistics: python -m benchmarks.flicker

A generated scene with haze, a fixed camera with noise, and a bright hot object that crosses it. What lies above the
object's path should not change. Flicker is the change from frame to frame of its mean colour, in levels of 255; the
noise alone makes 0.02.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from iassf_jax.data.haze import HazeParams, apply_haze
from iassf_jax.fuse.fuser import Fuser, load
from iassf_jax.fuse.video import SteadyFuser
from iassf_jax.scenes import SceneSource
from iassf_jax.weights import shipped


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


def flicker(fuser: Fuser, smoothing: float, frames: int, height: int, width: int) -> tuple[float, float]:
    """Of the mean colour above the object's path: mean change a frame, and range over all frames, in levels."""
    steady = SteadyFuser(fuser, smoothing)
    still = height * 2 // 3
    colours = [steady(*pair)["fused"][:still].mean(axis=(0, 1)) for pair in moving_scene(frames, height, width)]
    return float(np.abs(np.diff(colours, axis=0)).mean()), float(np.ptp(colours, axis=0).max())


def main() -> None:
    """Prints a line for each smoothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=shipped.DEFAULT)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("HEIGHT", "WIDTH"))
    args = parser.parse_args()
    fuser = load(args.checkpoint)
    for smoothing in (0.0, 0.5, 0.9, 0.95):
        step, reach = flicker(fuser, smoothing, args.frames, *args.size)
        print(f"smoothing {smoothing:4}: {step:.3f} levels a frame, range {reach:.2f}", flush=True)


if __name__ == "__main__":
    main()
