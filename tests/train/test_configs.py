"""Every config resolves, is locked, and builds its network; the paper's numbers stand in configs/msrs.py."""

import importlib
from pathlib import Path

import grain
import pytest
from ml_collections import ConfigDict

import tiny
from configs import haze, msrs, release
from iassf_jax.data import pipeline
from iassf_jax.data.layouts import Pair
from iassf_jax.errors import UserError
from iassf_jax.models import build_model, full_settings
from iassf_jax.train.config_checks import check_config, check_workers
from iassf_jax.train.loop import train_and_evaluate
from iassf_jax.train.run_config import ADDED, changed_settings, check_same_run, load_config, save_config

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
        ("train", {"batch_size": 0}, "train.batch_size is 0: use 1 to 65536"),
        ("train", {"epochs": 0}, "both 0"),
        ("train", {"ema_decay": 1.5}, "train.ema_decay"),
        ("optim", {"learning_rate": -1.0, "accumulate_steps": 0}, "learning_rate is .*; optim.accumulate_steps is 0"),
        ("optim", {"learning_rate": float("nan")}, "learning_rate is nan"),
        ("optim", {"min_learning_rate": 1.0}, "above optim.learning_rate"),
        ("optim", {"schedule_every": "month"}, "schedule_every: use one of step, epoch"),
        ("data", {"crop": 0}, "data.crop"),
        ("data", {"depth_meaning": "disparty"}, "depth_meaning is 'disparty', .*: use depth, disparity"),
        ("data", {"whole_size": (60_000, 60_000), "rotations": False}, "of 1 to 8192"),
        ("data", {"infrared_fading": (0.0, float("nan"))}, "data.infrared_fading"),
        ("train", {"steps": 2**31}, "use 0 to 2147483647"),
        ("loss", {"beta": -0.5}, "loss.beta is -0.5: use 0 to 1e6"),
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


INFINITE = float("inf")


@pytest.mark.parametrize("value", [INFINITE, -INFINITE, float("nan"), 1e30, 1e300])
@pytest.mark.parametrize(
    "name",
    ["loss.alpha", "loss.beta", "train.ema_decay", "data.min_scale", "data.permute_chance"]
    + ["optim." + name for name in ("learning_rate", "min_learning_rate", "weight_decay", "clip_norm")]
    + ["optim." + name for name in ("beta1", "beta2", "epsilon")],
)
def test_no_number_is_infinite_or_beyond_sense(name, value):
    config = msrs.get_config()
    section, field = name.split(".")
    config[section][field] = value
    with pytest.raises(UserError, match=name.replace(".", r"\.") + " is"):
        check_config(config)


def test_more_workers_than_the_machine_can_serve_are_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(grain, "MultiprocessingOptions", lambda **_: pytest.fail("would have started them"))
    config = tiny.get_config()
    config.data.num_workers = 1000
    with pytest.raises(UserError, match=r"data\.num_workers is 1000: use 0 to \d+ on this machine"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config.data.num_workers = 8
    check_workers(config.data)


def test_stored_haze_without_hazy_files_is_refused_before_anything_is_made(tmp_path):
    config = tiny.get_config()
    config.data.haze.kinds = ("depth", "stored")
    with pytest.raises(UserError, match="'stored' but scene00000 has no hazy file"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_pair_without_stored_haze_is_named():
    pairs = (Pair("a", "a.png", "a.png", "hazy.png"), Pair("b", "b.png", "b.png"))
    haze = {"kinds": ("stored",)}
    pipeline.check_stored_haze(pipeline.PairSource(pairs[:1]), haze)
    for source in (pipeline.PairSource(pairs), pipeline.StretchedSource(pipeline.PairSource(pairs), "auto")):
        with pytest.raises(UserError, match="'stored' but b has no hazy file"):
            pipeline.check_stored_haze(source, haze)


def test_a_setting_that_the_loss_lacks_is_named():
    config = msrs.get_config()
    with config.unlocked():
        config.loss.gamma = 1.0
    with pytest.raises(UserError, match="loss has 'gamma': use alpha, beta"):
        check_config(config)


@pytest.mark.parametrize("config, name", [(msrs, "data.relight"), (msrs, "optim.trainable"), (haze, "loss.hidden")])
def test_a_setting_that_the_config_lacks_is_named(config, name):
    config = config.get_config()
    section, field = name.split(".")
    with config.unlocked():
        del config[section][field]
    with pytest.raises(UserError, match=f"the config has no {name}.*: start from configs/"):
        check_config(config)


def test_a_config_of_the_first_version_is_brought_up_to_this_one(tmp_path):
    """It lacks what came later, has settings of the network that are gone, and its run sees the same batches."""
    config = tiny.get_config()
    first = config.to_dict()
    del first["data"]["relight"], first["data"]["degrade"], first["init_from"]
    for section, field in (name.split(".") for name in ADDED if name.count(".") == 1):
        del first[section][field]
    for field in ("reconstruction", "working_size", "patch", "bound"):
        del first["model"][field]
    first["model"] |= {"refine_radius": 0, "modulation_passes": 1}
    save_config(tmp_path, ConfigDict(first))
    found = load_config(tmp_path)
    check_config(found)
    assert not changed_settings({"model": found.model}, {"model": config.model})
    sections = [name for name in config if hasattr(config[name], "keys") and name != "model"]
    assert all(set(found[name]) == set(config[name]) for name in sections)
    assert found.data.infrared_percentiles == "none" and not found.optim.trainable
    one, other = (_first_batch(x) for x in (found, config))
    assert all((one[name] == other[name]).all() for name in other)


def test_a_run_goes_on_with_its_own_settings_only(tmp_path):
    config = tiny.get_config()
    check_same_run(tmp_path, config)  # a new folder
    save_config(tmp_path, config)
    with config.unlocked():
        config.train.steps, config.eval.every, config.data.root = 9, 7, "moved"
        check_same_run(tmp_path, config)
        config.loss.alpha = 0.5
    with pytest.raises(UserError, match=r"other settings \(loss.alpha was 2.0, is 0.5\): choose another --workdir"):
        check_same_run(tmp_path, config)


def _first_batch(config):
    iterator = pipeline.train_iterator(config.data, pipeline.make_source(config.data, "train")[0], 2, 0)
    try:
        return next(iterator)
    finally:
        iterator.close()


def test_the_networks_defaults_are_the_papers_config():
    assert full_settings({"name": "iassf"}) == msrs.get_config().model.to_dict()


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
