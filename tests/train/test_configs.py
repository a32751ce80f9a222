"""Every config resolves, is locked, and builds its network; the paper's numbers stand in configs/msrs.py."""

import importlib
from pathlib import Path

import pytest

from configs import msrs, release
from iassf_jax.errors import UserError
from iassf_jax.models import build_model
from iassf_jax.train.config_checks import check_config

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "configs").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_config(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert config.is_locked
    build_model(config.model)
    check_config(config)
    defaults = msrs.get_config()
    for section in defaults:
        other = section == "loss" and config.data.with_truth or (section, name) == ("model", "release")
        if hasattr(defaults[section], "keys") and not other:
            assert set(config[section]) == set(defaults[section])


def test_the_papers_setting():
    config = msrs.get_config()
    assert (config.train.epochs, config.train.batch_size, config.data.crop) == (300, 6, 256)
    assert (config.optim.learning_rate, config.optim.min_learning_rate, config.loss.alpha) == (2e-4, 2e-6, 2.0)
    assert (config.model.channels, config.model.num_prompts, config.model.fusion_blocks) == (24, 5, 5)
    assert config.data.horizontal_flip and config.data.vertical_flip and not config.data.rotations


@pytest.mark.parametrize(
    "section, values, words",
    [
        ("train", {"batch_size": 0}, "train.batch_size is 0: use 1 or more"),
        ("train", {"epochs": 0}, "both 0"),
        ("train", {"ema_decay": 1.5}, "train.ema_decay"),
        ("optim", {"learning_rate": -1.0, "accumulate_steps": 0}, "learning_rate is .*; optim.accumulate_steps is 0"),
        ("optim", {"learning_rate": float("nan")}, "learning_rate is nan"),
        ("optim", {"min_learning_rate": 1.0}, "above optim.learning_rate"),
        ("optim", {"schedule_every": "month"}, "schedule_every: use one of step, epoch"),
        ("data", {"crop": 0}, "data.crop"),
        ("loss", {"beta": -0.5}, "loss.beta is -0.5: use 0 or more"),
        ("data", {"min_scale": 2.0}, "data.min_scale is 2.0: use 0.01 to 1"),
        ("data", {"whole_size": (120,)}, "data.whole_size is .120,.: use .height, width."),
        ("data", {"whole_size": ((120, 160), (60,))}, "data.whole_size is ..120, 160., .60,..: use .height, width."),
        ("data", {"whole_size": ((120, 160), 60)}, "data.whole_size is ..120, 160., 60.: use .height, width."),
        ("data", {"whole_size": (120, 160), "rotations": True}, "data.rotations turns whole images"),
        ("data", {"num_workers": -1}, "data.num_workers"),
        ("optim", {"trainable": (3,)}, "optim.trainable is .3,.: use names"),
        ("data", {"infrared_percentiles": "1 2 3"}, "data.infrared_percentiles: .*give two numbers"),
        ("data", {"relight": {"chance": 2.0}}, "relight.chance is 2.0: use 0 to 1"),
        ("data", {"relight": {"gain": (1.0, 0.5)}}, "relight.gain is .* between 0.01 and 10"),
        ("data", {"degrade": {"noise_chance": 2.0}}, "degrade.noise_chance is 2.0: use 0 to 1"),
        ("data", {"degrade": {"jpeg_quality": (90, 40)}}, "degrade.jpeg_quality is .* between 1 and 100"),
    ],
)
def test_what_cannot_work_is_refused(section, values, words):
    config = msrs.get_config()
    config[section].update(values)
    with pytest.raises(UserError, match=words):
        check_config(config)


def test_a_setting_that_the_loss_lacks_is_named():
    config = msrs.get_config()
    with config.unlocked():
        config.loss.gamma = 1.0
    with pytest.raises(UserError, match="loss has 'gamma': use alpha, beta"):
        check_config(config)


def test_configs_of_older_runs_have_no_degrade_and_no_relight():
    config = msrs.get_config()
    with config.unlocked():
        del config.data.degrade, config.data.relight
    check_config(config)


def test_stored_haze_cannot_be_relit():
    config = msrs.get_config()
    config.data.haze.kinds = ("stored", "none")
    check_config(config)
    config.data.relight.chance = 0.1
    with pytest.raises(UserError, match="stored haze keeps its light"):
        check_config(config)


@pytest.mark.parametrize("kinds, words", [((), "list of names"), (("fog",), "'fog'")])
def test_unknown_haze_is_refused(kinds, words):
    config = msrs.get_config()
    config.data.haze.kinds = kinds
    with pytest.raises(UserError, match=words):
        check_config(config)


@pytest.mark.parametrize(
    "ranges, words",
    [
        ({"homogenous": {"t": (0.2, 0.4)}}, "data.haze.ranges: unknown haze kind 'homogenous'"),
        ({"homogeneous": {"tt": (0.2, 0.4)}}, "has no range 'tt'"),
        ({"homogeneous": {"t": (0.4, 0.2)}}, r"t = \(0.4, 0.2\)"),
        ({"homogeneous": {"t": 0.4}}, r"t = 0.4: give \(low, high\)"),
        ({"homogeneous": {"t": ("a", "b")}}, r"give \(low, high\)"),
    ],
)
def test_ranges_that_no_haze_has_are_refused(ranges, words):
    config = msrs.get_config()
    config.data.haze.ranges = ranges
    with pytest.raises(UserError, match=words):
        check_config(config)


def test_the_releases_setting():
    config = release.get_config()
    assert config.model.name == "iassf_release" and config.optim.schedule_every == "epoch"
    assert config.data.horizontal_flip and config.data.rotations and not config.data.vertical_flip
    assert config.optim.min_learning_rate == pytest.approx(1e-2 * config.optim.learning_rate)
