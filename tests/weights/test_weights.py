"""The weights in the repository: they fit the network, and do what docs/weights.md says."""

import numpy as np
import pytest

from configs import haze_small, haze_whole, msrs_whole
from iassf_jax.data.haze import apply_haze, draw_haze
from iassf_jax.fuse.network import Predictor
from iassf_jax.metrics.psnr import psnr
from iassf_jax.models import build_model, full_settings
from iassf_jax.scenes import SceneSource
from iassf_jax.weights.formats import read_weights


@pytest.mark.parametrize(
    "name, config, step",
    [("iassf-msrs", msrs_whole, 70), ("iassf-haze", haze_whole, 250), ("iassf-haze-small", haze_small, 850)],
)
def test_they_are_of_their_config_and_last_stage(name, config, step):
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in config.get_config().model.to_dict().items()}
    weights = read_weights([name])
    assert weights.model == full_settings(settings) and weights.source["step"] == step


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, kind, gain",
    [("iassf-msrs", "msrs_release", 6), ("iassf-haze", "homogeneous", 3), ("iassf-haze-small", "homogeneous", 3)],
)
def test_they_take_the_haze_away_that_they_know(name, kind, gain):
    """Scenes were never trained on."""
    weights = read_weights([name])
    scene = SceneSource(1, 21, 96, 128)[0]
    hazy = apply_haze(scene.visible, draw_haze(kind, np.random.default_rng(0)))
    out = Predictor(build_model(weights.model), weights.params)(hazy[None], scene.infrared[None])
    before, after = (float(psnr(x, scene.visible[None])[0]) for x in (hazy[None], out["dehazed"]))
    assert after > before + gain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iassf-haze", "iassf-haze-small"])
def test_a_clear_image_comes_back_clear(name):
    weights = read_weights([name])
    scene = SceneSource(1, 22, 96, 128)[0]
    out = Predictor(build_model(weights.model), weights.params)(scene.visible[None], scene.infrared[None])
    assert float(psnr(out["dehazed"], scene.visible[None])[0]) > 25
