"""The weights in the repository: they fit the network, and do what docs/weights.md says."""

import numpy as np
import pytest

from configs import msrs
from iassf_jax.convert.formats import read_weights
from iassf_jax.data.haze import apply_haze, draw_haze
from iassf_jax.data.scenes import SceneSource
from iassf_jax.inference import Predictor
from iassf_jax.metrics.psnr import psnr
from iassf_jax.models import build_model, full_settings

WEIGHTS = "iassf-msrs"


def test_they_are_of_the_papers_setting():
    weights = read_weights([WEIGHTS])
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in msrs.get_config().model.to_dict().items()}
    assert weights.model == full_settings(settings) and weights.source["step"] == 1300


@pytest.mark.slow
def test_they_take_the_haze_away_that_they_know():
    """Scenes were never trained on; docs/training.md has 7.7 -> 22.8 dB for eight of them."""
    weights = read_weights([WEIGHTS])
    scene = SceneSource(1, 21, 96, 128)[0]
    hazy = apply_haze(scene.visible, draw_haze("msrs_release", np.random.default_rng(0)))
    out = Predictor(build_model(weights.model), weights.params)(hazy[None], scene.infrared[None])
    before, after = (float(psnr(x, scene.visible[None])[0]) for x in (hazy[None], out["dehazed"]))
    assert after > before + 6
