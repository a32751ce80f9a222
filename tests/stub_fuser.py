"""A fuser without a network: dehazed is the visible image, fused the mean of both. For tests of what is around it."""

import numpy as np

from iassf_jax.data import images
from iassf_jax.fuse.fuser import Fuser
from iassf_jax.weights.formats import Weights


class _Mean:
    tiling = None

    def __call__(self, visible, infrared, strengths=None):
        visible, infrared = images.to_float(visible), images.to_float(infrared)
        out = {"dehazed": visible, "fused": (visible + infrared[..., None]) / 2}
        return {name: np.rint(255 * x).astype(np.uint8) for name, x in out.items()}

    def steady(self, visible, infrared, before, smoothing, strengths=None):
        return self(visible, infrared), None


class StubFuser(Fuser):
    def __init__(self):
        self.weights = Weights({}, {}, source={"name": "stub", "sha256": "0"})
        self.predictor = _Mean()
