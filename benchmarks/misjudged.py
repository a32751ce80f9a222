"""How much of dehazed images' error is a wrong gain or offset: python -m benchmarks.misjudged --dehazed DIR --clear DIR

Each dehazed image is brought to the clear one of its name by least squares: with an offset, a gain, both, and both as
quadratic functions of the authors' wave of haze at each place. Where that raises PSNR a lot, the network judged how
dense the haze is wrongly, not where it lies or what is behind it.
"""

import argparse
from pathlib import Path

import numpy as np

from iassf_jax.data import images
from iassf_jax.data.layouts import list_images
from iassf_jax.metrics.psnr import psnr

FITS = ("as it is", "offset", "gain", "gain and offset", "both, by the authors' wave")


def fitted(dehazed: np.ndarray, clear: np.ndarray) -> list[np.ndarray]:
    """A dehazed image uint8[H, W, 3] after each of `FITS` to the clear one, rounded to uint8."""
    x, wanted = (np.float64(images.to_float(image)) for image in (dehazed, clear))
    height, width = x.shape[:2]
    row, column = np.mgrid[:height, :width]
    wave = np.sin(2 * np.pi * (row + column) / (height + width))[..., None]
    one = np.ones_like(x)
    fits = [x, x + (wanted - x).mean()]
    for basis in ([x], [x, one], [part * wave**k for part in (x, one) for k in range(3)]):
        matrix = np.stack([b.ravel() for b in basis], axis=1)
        weights = np.linalg.solve(matrix.T @ matrix, matrix.T @ wanted.ravel())
        fits.append((matrix @ weights).reshape(x.shape))
    return [images.to_uint8(2 * fit - 1) for fit in fits]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dehazed", required=True, metavar="DIR", help="e.g. the dehazed/ that eval.py writes")
    parser.add_argument("--clear", required=True, metavar="DIR")
    args = parser.parse_args()
    found = [{stem: paths[0] for stem, paths in list_images(Path(x)).items()} for x in (args.dehazed, args.clear)]
    stems = sorted(found[0].keys() & found[1].keys())
    if not stems:
        parser.error(f"{args.clear}: holds no image with a name of {args.dehazed}")
    pairs = [tuple(images.read_visible(folder[stem]) for folder in found) for stem in stems]
    scores = np.array([[psnr(x[None], clear[None])[0] for x in fitted(dehazed, clear)] for dehazed, clear in pairs])
    print(f"| fitted to {len(stems)} clear images | PSNR |\n|---|---|")
    for name, score in zip(FITS, scores.mean(axis=0), strict=True):
        print(f"| {name} | {score:.2f} dB |")


if __name__ == "__main__":
    main()
