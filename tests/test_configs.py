"""Every config resolves, is locked, and builds its network; the paper's numbers stand in configs/msrs.py."""

import importlib
from pathlib import Path

import pytest

from configs import msrs
from iassf_jax.models import build_model

NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_config(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert config.is_locked
    build_model(config.model)
    defaults = msrs.get_config()
    for section in defaults:
        if hasattr(defaults[section], "keys"):
            assert set(config[section]) == set(defaults[section])


def test_the_papers_setting():
    config = msrs.get_config()
    assert (config.train.epochs, config.train.batch_size, config.data.crop) == (300, 6, 256)
    assert (config.optim.learning_rate, config.optim.min_learning_rate, config.loss.alpha) == (2e-4, 2e-6, 2.0)
    assert (config.model.channels, config.model.num_prompts, config.model.fusion_blocks) == (24, 5, 5)
    assert config.data.horizontal_flip and config.data.vertical_flip and not config.data.rotations
