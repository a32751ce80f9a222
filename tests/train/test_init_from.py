"""Training that starts from weights: of another run, of a file, and of the authors' converted ones."""

import jax
import numpy as np
import pytest

import released
import tiny
from configs import release
from iassf_jax.errors import UserError
from iassf_jax.models import build_model, full_settings
from iassf_jax.train.checkpoints import load_weights
from iassf_jax.train.loop import train_and_evaluate
from iassf_jax.weights.fit import with_prompt_size
from iassf_jax.weights.formats import Weights, read_weights, write_weights
from iassf_jax.weights.torch_file import write_torch


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    """Optax's Adam mixes its step counter with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def standing_still(config, source):
    """One step whose learning rate moves nothing."""
    config.init_from = str(source)
    config.train.update(steps=1, batch_size=2, log_every=1)
    config.optim.update(learning_rate=1e-30, min_learning_rate=0.0)
    return config


def assert_same(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-20), one, other)


@pytest.fixture(scope="module")
def small():
    settings = full_settings(tiny.get_config().model)
    params = jax.jit(build_model(settings).init)(jax.random.key(9), np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 1)))
    return Weights(settings, jax.device_get(params))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["weights.safetensors", "folder"])
def test_a_run_starts_from_weights_and_resumes_from_itself(small, tmp_path, form):
    write_weights(small, tmp_path / form)
    config = standing_still(tiny.get_config(), tmp_path / form)
    config.train.ema_decay = 0.5
    config.eval.num_images = 0
    state = train_and_evaluate(config, tmp_path / "run")
    assert "val/" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert_same(state.params, small.params)
    assert_same(load_weights(tmp_path / "run", state.params)[0], small.params)
    config.train.steps = 2
    config.init_from = str(tmp_path / "gone")
    assert int(train_and_evaluate(config, tmp_path / "run").step) == 2


def test_weights_that_do_not_fit_are_refused(small, tmp_path):
    write_weights(small, tmp_path / "w.safetensors")
    config = standing_still(tiny.get_config(), tmp_path / "w.safetensors")
    config.model.num_prompts = 4
    with pytest.raises(UserError, match=r"init_from holds another network \(model\.num_prompts was 5, is 4\)"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config.init_from = str(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"none\.safetensors"):
        train_and_evaluate(config, tmp_path / "run")


def test_the_released_network_does_not_become_another(tmp_path):
    """Its weights are another network's; that is told before anything is made of them."""
    released_settings = full_settings({"name": "iassf_release", "depths": (0, 0, 2, 0, 0), "prompt_size": 8})
    pair = np.zeros((1, 32, 32, 3)), np.zeros((1, 32, 32, 1))
    params = jax.jit(build_model(released_settings).init)(jax.random.key(0), *pair)
    write_weights(Weights(released_settings, jax.device_get(params)), tmp_path / "folder")
    config = standing_still(tiny.get_config(), tmp_path / "folder")
    config.model.prompt_size = 8
    with pytest.raises(UserError, match=r"init_from holds another network \(.*model\.name was iassf_release, is iassf"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_prompt_pools_are_resized_where_the_config_has_another_size(small, tmp_path):
    write_weights(small, tmp_path / "w.safetensors")
    config = standing_still(tiny.get_config(), tmp_path / "w.safetensors")
    config.model.prompt_size = 2
    state = train_and_evaluate(config, tmp_path / "run")
    assert_same(state.params, with_prompt_size(small, 2).params)


@pytest.mark.slow
def test_images_start_anew_where_the_config_reconstructs_softly(small, tmp_path):
    write_weights(small, tmp_path / "w.safetensors")
    config = standing_still(tiny.get_config(), tmp_path / "w.safetensors")
    config.model.reconstruction = "soft"
    state = train_and_evaluate(config, tmp_path / "run")
    found, before = state.params["params"], small.params["params"]
    assert not any(np.any(np.abs(found["heads"][name]["kernel"]) > 1e-20) for name in ("dehazed", "fused"))
    assert_same(found["ia_frm"]["tf"], before["ia_frm"]["tf"])
    write_weights(Weights({**small.model, "reconstruction": "soft"}, state.params), tmp_path / "soft.safetensors")
    config.init_from = str(tmp_path / "soft.safetensors")
    config.model.reconstruction = "direct"
    with pytest.raises(UserError, match=r"model\.reconstruction was soft, is direct"):
        train_and_evaluate(config, tmp_path / "other")


def test_a_folder_of_weights_is_no_run_to_resume(small, tmp_path):
    write_weights(small, tmp_path / "folder")
    with pytest.raises(UserError, match=r"--config\.init_from"):
        train_and_evaluate(tiny.get_config(), tmp_path / "folder")


@pytest.mark.slow
def test_the_releases_recipe_starts_from_converted_weights(tmp_path):
    (tmp_path / "IASSF.pth").write_bytes(write_torch(released.state_dicts()))
    write_weights(read_weights([tmp_path / "IASSF.pth"]), tmp_path / "converted")
    config = standing_still(release.get_config(), tmp_path / "converted")
    config.data.update(source="scenes", crop=24)
    config.data.scenes.update(num_train=2, num_val=1, height=32, width=40)
    config.eval.num_images = 1
    state = train_and_evaluate(config, tmp_path / "run")
    assert_same(state.params, released.parameters())
    assert (tmp_path / "run" / "samples").is_dir()
