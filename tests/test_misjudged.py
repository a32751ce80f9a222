"""The fits of a gain and an offset that say how much of an error they are."""

import numpy as np

from benchmarks.misjudged import FITS, fitted
from iassf_jax.metrics.psnr import psnr


def test_each_fit_undoes_its_own_error_and_none_is_worse_than_a_narrower_one():
    rng = np.random.default_rng(0)
    clear = rng.integers(60, 180, (24, 32, 3)).astype(np.uint8)
    row, column = np.mgrid[:24, :32]
    wave = 1 + 0.2 * np.sin(2 * np.pi * (row + column) / 56)[..., None]
    wrong = {"offset": clear + 30.0, "gain": clear * 0.8, "gain and offset": clear * 0.7 + 20, FITS[-1]: clear * wave}
    for name, x in wrong.items():
        scores = [float(psnr(fit[None], clear[None])[0]) for fit in fitted(np.uint8(np.round(x)), clear)]
        best = FITS.index(name)
        assert scores[best] > scores[0] + 10, name
        assert scores[3] >= max(scores[:3]) - 0.1 and scores[4] >= scores[3] - 0.1
        if name == FITS[-1]:
            assert scores[4] > scores[3] + 10
