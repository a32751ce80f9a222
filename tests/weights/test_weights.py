"""The weights in the repository: they fit the network, and do what docs/weights.md says."""

import numpy as np
import pytest

from configs import haze, msrs_physical
from iassf_jax.data.haze import apply_haze, draw_haze
from iassf_jax.fuse.network import make_predictor
from iassf_jax.metrics.psnr import psnr
from iassf_jax.models import build_model, full_settings
from iassf_jax.scenes import SceneSource
from iassf_jax.weights.formats import read_weights


@pytest.mark.parametrize("name, config", [("iassf-msrs", msrs_physical), ("iassf-haze", haze)])
def test_they_are_of_their_config(name, config):
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in config.get_config().model.to_dict().items()}
    found = read_weights([name]).model
    assert found == full_settings({**settings, "bound": found["bound"]})  # how much haze to take off is chosen by eye


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, kind, gain",
    [("iassf-msrs", "msrs_release", 6), ("iassf-haze", "homogeneous", 3)],
)
def test_they_take_the_haze_away_that_they_know(name, kind, gain):
    """Scenes were never trained on."""
    weights = read_weights([name])
    scene = SceneSource(1, 21, 96, 128)[0]
    hazy = apply_haze(scene.visible, draw_haze(kind, np.random.default_rng(0)))
    out = make_predictor(build_model(weights.model), weights.params)(hazy[None], scene.infrared[None])
    before, after = (float(psnr(x, scene.visible[None])[0]) for x in (hazy[None], out["dehazed"]))
    assert after > before + gain


@pytest.mark.slow
def test_a_clear_image_comes_back_clear():
    weights = read_weights(["iassf-haze"])
    scene = SceneSource(1, 22, 96, 128)[0]
    out = make_predictor(build_model(weights.model), weights.params)(scene.visible[None], scene.infrared[None])
    assert float(psnr(out["dehazed"], scene.visible[None])[0]) > 25
