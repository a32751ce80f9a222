"""Fuses one pair with a StableHLO file, without iassf_jax: needs jax, flatbuffers, NumPy and OpenCV.

python -m iassf_jax export --checkpoint iassf-haze --format stablehlo --size 480 640 --output iassf.stablehlo
python examples/run_stablehlo.py iassf.stablehlo visible.png infrared.png fused.png
"""

import argparse
import sys
from pathlib import Path

import cv2
import jax.export
import numpy as np


def main() -> None:
    """Reads a file and a pair, writes the fused image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("visible")
    parser.add_argument("infrared")
    parser.add_argument("output", help="an image file, e.g. fused.png")
    args = parser.parse_args()

    exported = jax.export.deserialize(bytearray(Path(args.network).read_bytes()))
    visible, infrared = read(args.visible, cv2.IMREAD_COLOR), read(args.infrared, cv2.IMREAD_GRAYSCALE)
    if visible.shape[:2] != infrared.shape[:2]:
        sys.exit(f"visible is {visible.shape[:2]}, infrared {infrared.shape[:2]}: they must be aligned, of one size")
    height, width = visible.shape[:2]
    wanted = exported.in_avals[0].shape[1:3]
    open_size = tuple(max(64, -(-n // 32) * 32) for n in (height, width))
    size = wanted if isinstance(wanted[0], int) else open_size
    if height > size[0] or width > size[1]:
        sys.exit(
            f"the network takes {size[0]} x {size[1]}, the image is {height} x {width}: export it with that --size"
        )
    fused, *_ = exported.call(*(signed(x, size) for x in (visible, infrared)))
    fused = np.clip(np.asarray(fused)[0, :height, :width] * 0.5 + 0.5, 0, 1)
    if not cv2.imwrite(args.output, np.rint(255 * fused).astype(np.uint8)[..., ::-1]):
        sys.exit(f"{args.output}: cannot be written")


def read(path: str, mode: int) -> np.ndarray:
    """uint8[H, W, 3], R, G, B, or uint8[H, W, 1]."""
    image = cv2.imread(path, mode | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        sys.exit(f"{path}: is no image")
    if image.dtype != np.uint8:
        sys.exit(f"{path}: holds {image.dtype} values: convert it to 8 bits as you would show it")
    return image[..., ::-1] if image.ndim == 3 else image[..., None]


def signed(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32[1, *size, C] in -1..1, mirrored at the right and the bottom."""
    pads = [(0, new - old) for new, old in zip(size, image.shape[:2], strict=True)]
    padded = np.pad(image, [*pads, (0, 0)], mode="symmetric")
    return padded[None].astype(np.float32) / np.float32(127.5) - 1


if __name__ == "__main__":
    main()
