"""Folders of small image pairs, and short forms of what is found in them, for the tests of layouts and splits."""

import os

import cv2
import numpy as np

from iassf_jax.data.layouts import find_pairs


def put(folder, stems, size=(6, 8), suffix=".png"):
    """Writes an image of size (height, width) for every stem."""
    folder.mkdir(parents=True, exist_ok=True)
    data = bytes(cv2.imencode(suffix, np.full(size, 7, np.uint8))[1])
    for stem in stems:
        (folder / f"{stem}{suffix}").write_bytes(data)


def put_pairs(root, stems, names=("vi", "ir")):
    for name in names:
        put(root / name, stems)
    return root


def stems_of(root, split="train", **options):
    return [pair.stem for pair in find_pairs(root, split=split, verify=False, **options).pairs]


def reasons(found):
    return {os.path.basename(problem.path): problem.reason for problem in found.problems}
