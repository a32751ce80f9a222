"""Makes guided_filter.npz: python -m pip install opencv-contrib-python-headless && python make_guided_filter.py.

In an environment of its own: opencv-contrib and opencv-python must not be installed together.
"""

from pathlib import Path

import cv2
import numpy as np

rng = np.random.default_rng(0)
values = {}
cases = [((96, 128), 20, 1e-2), ((140, 131), 60, 1e-4), ((24, 37), 60, 1e-4), ((5, 9), 3, 1e-3)]
for i, ((height, width), radius, epsilon) in enumerate(cases):
    guide = cv2.GaussianBlur(rng.random((height, width), np.float32), (0, 0), 1.5)
    image = (np.roll(guide, 2, axis=1) > guide.mean()).astype(np.float32) + 0.1 * rng.random(guide.shape, np.float32)
    values |= {f"guide{i}": guide, f"image{i}": image, f"radius{i}": radius, f"epsilon{i}": epsilon}
    values[f"expected{i}"] = cv2.ximgproc.guidedFilter(guide, image, radius, epsilon)
np.savez_compressed(Path(__file__).parent / "guided_filter.npz", cases=len(cases), **values)
print("OpenCV", cv2.__version__)
