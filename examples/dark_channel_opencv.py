"""Dehazes a folder by the dark channel prior, with OpenCV and NumPy alone: a peer for `iassf-jax metrics`.

python examples/dark_channel_opencv.py results/tables/base/hazy results/dark_channel

Source: He, Sun, Tang, "Single image haze removal using dark channel prior", CVPR 2009, with the guided filter of ECCV
2010 in place of matting.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

WINDOW = np.ones((15, 15), np.uint8)


def main() -> None:
    """Reads every image of a folder, and writes its dehazed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hazy", type=Path, help="a folder of images")
    parser.add_argument("output", type=Path, help="a folder for the dehazed images")
    args = parser.parse_args()

    args.output.mkdir(parents=True, exist_ok=True)
    images = {path: cv2.imread(str(path), cv2.IMREAD_COLOR) for path in sorted(args.hazy.glob("*"))}
    if not any(image is not None for image in images.values()):
        sys.exit(f"{args.hazy}: holds no image")
    for path, image in images.items():
        if image is not None and not cv2.imwrite(str(args.output / f"{path.stem}.png"), dehaze(image)):
            sys.exit(f"{args.output}: cannot be written")


def dehaze(hazy: np.ndarray) -> np.ndarray:
    """uint8[H, W, 3], blue, green, red, of the hazy and of the dehazed image."""
    image = hazy.astype(np.float32) / 255
    dark = dark_channel(image)
    brightest = np.argsort(dark, axis=None)[-max(1, dark.size // 1000) :]
    light = np.maximum(image.reshape(-1, 3)[brightest].mean(axis=0), 1e-3)
    transmission = 1 - 0.95 * dark_channel(image / light)
    guide = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    transmission = np.maximum(guided_filter(guide, transmission, 60, 1e-4), 0.1)
    return cv2.convertScaleAbs(np.maximum((image - light) / transmission[..., None] + light, 0), alpha=255)


def dark_channel(image: np.ndarray) -> np.ndarray:
    """The smallest value of all channels in a window around each pixel: float32[H, W, 3] -> float32[H, W]."""
    return cv2.erode(image.min(axis=2), WINDOW)


def guided_filter(guide: np.ndarray, x: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Smooths x along the edges of the guide: float32[H, W] each."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    slope = (mean(guide * x) - mean(guide) * mean(x)) / (mean(guide * guide) - mean(guide) ** 2 + epsilon)
    offset = mean(x) - slope * mean(guide)
    return mean(slope) * guide + mean(offset)


if __name__ == "__main__":
    main()
