"""Weights made to fit: prompt pools of another size, means with other weights, and the command."""

import cv2
import jax
import numpy as np
import pytest

import tiny
from iassf_jax.cli.main import main
from iassf_jax.errors import UserError
from iassf_jax.models import build_model
from iassf_jax.weights.fit import averaged, with_prompt_size
from iassf_jax.weights.formats import Weights, read_weights, write_weights


@pytest.fixture(scope="module")
def weights():
    return tiny.weights()


def pools(weights):
    return [x for path, x in jax.tree_util.tree_leaves_with_path(weights.params) if path[-1].key == "pool"]


def test_a_smaller_pool_holds_area_means_and_the_rest_stays(weights):
    small = with_prompt_size(weights, 2)
    assert small.model == {**weights.model, "prompt_size": 2}
    for before, after in zip(pools(weights), pools(small), strict=True):
        means = np.asarray(before).reshape(5, 2, 2, 2, 2, 4).mean((2, 4))
        np.testing.assert_allclose(after, means, rtol=1e-6)
    others = [
        [x for path, x in jax.tree_util.tree_leaves_with_path(w.params) if path[-1].key != "pool"]
        for w in (weights, small)
    ]
    jax.tree.map(np.testing.assert_array_equal, *others)


@pytest.mark.parametrize("side", [1, 3, 9])
def test_an_even_pool_gives_the_same_images_at_any_size(weights, side):
    even = jax.tree_util.tree_map_with_path(
        lambda path, x: x * 0 + 0.3 if path[-1].key == "pool" else x, weights.params
    )
    weights = Weights(weights.model, even)
    images = [jax.random.uniform(jax.random.key(0), (1, 16, 24, n), minval=-1) for n in (3, 1)]
    results = [
        jax.jit(build_model(w.model).apply)(w.params, *images)["fused"]
        for w in (weights, with_prompt_size(weights, side))
    ]
    np.testing.assert_allclose(*results, atol=1e-5)


@pytest.mark.parametrize("side", [1, 3, 5, 7, 11])
def test_a_pool_of_many_channels_takes_any_side(weights, side):
    pool = np.random.default_rng(0).normal(size=(5, 8, 8, 24)).astype(np.float32)
    found = with_prompt_size(Weights({**weights.model, "prompt_size": 8}, {"pool": pool}), side).params["pool"]
    assert found.shape == (5, side, side, 24)
    how = cv2.INTER_AREA if side < 8 else cv2.INTER_LINEAR
    expected = cv2.resize(np.ascontiguousarray(pool[1, ..., 5]), (side, side), interpolation=how)
    np.testing.assert_allclose(found[1, ..., 5], expected, atol=1e-3)  # OpenCV's bilinear shares have 11 bits


def converted(weights, folder, *flags):
    write_weights(weights, folder / "w.safetensors")
    with pytest.raises(SystemExit) as leave:
        main(["convert", str(folder / "w.safetensors"), str(folder / "other.safetensors"), *flags])
    assert leave.value.code is None
    return read_weights([folder / "other.safetensors"])


def test_the_command_resizes(weights, tmp_path):
    found = converted(weights, tmp_path, "--prompt-size", "2")
    assert found.model["prompt_size"] == 2
    jax.tree.map(np.testing.assert_array_equal, found.params, jax.device_get(with_prompt_size(weights, 2).params))


def test_the_command_changes_what_the_network_computes_in(weights, tmp_path):
    found = converted(weights, tmp_path, "--dtype", "bfloat16")
    assert found.model == {**weights.model, "dtype": "bfloat16"}
    jax.tree.map(np.testing.assert_array_equal, found.params, weights.params)


def test_pytorchs_files_hold_no_setting(tmp_path):
    with pytest.raises(SystemExit) as leave:
        main(["convert", str(tmp_path / "w.safetensors"), str(tmp_path / "other.pth"), "--dtype", "bfloat16"])
    assert leave.value.code.startswith("error: --dtype is a setting, which PyTorch's files do not have")


def test_what_half_precision_cannot_hold_is_not_written(weights, tmp_path):
    large = jax.tree.map(lambda x: x * 0 + 70_000, weights.params)
    with pytest.raises(UserError, match="is too large for half precision: leave --half out"):
        write_weights(Weights(weights.model, large), tmp_path / "w.safetensors", half=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_files_hold_no_released_network_of_other_depths(tmp_path, name):
    other = Weights({"name": "iassf_release", "depths": (1, 1, 1, 1, 1), "dtype": "bfloat16"}, {"x": np.zeros(1)})
    with pytest.raises(UserError, match="files of the released network hold its own depths: write a folder"):
        write_weights(other, tmp_path / name)
    assert not list(tmp_path.iterdir())
    write_weights(other, tmp_path / "run.v2")  # a folder, whatever dots it has
    assert (tmp_path / "run.v2" / "config.json").is_file()


def test_the_command_takes_the_mean_with_the_weights_from_before(weights, tmp_path):
    before = Weights({**weights.model, "dtype": "bfloat16"}, jax.tree.map(lambda x: x + 1, weights.params))
    write_weights(before, tmp_path / "before.safetensors")
    found = converted(weights, tmp_path, "--average-with", str(tmp_path / "before.safetensors"), "--share", "0.25")
    assert found.model == weights.model
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y + 0.75, rtol=1e-6), found.params, weights.params)
    other = Weights({**weights.model, "norm": "bias_free"}, weights.params)
    with pytest.raises(UserError, match="different networks have no mean.*norm"):
        averaged(weights, other, 0.5)
    with pytest.raises(UserError, match="share is 2.0: use 0 to 1"):
        averaged(weights, before, 2.0)


def test_a_share_of_no_mean_is_refused(tmp_path):
    with pytest.raises(SystemExit) as leave:
        main(["convert", str(tmp_path / "w.safetensors"), str(tmp_path / "other.safetensors"), "--share", "0.5"])
    assert leave.value.code == "error: --share is of a mean: give --average-with too"


def test_what_is_refused(weights):
    with pytest.raises(UserError, match="prompt size is 0"):
        with_prompt_size(weights, 0)
    pool = {"dehaze": {"prompt_pool": {"prompt_param": np.zeros((5, 256, 256, 24))}}}
    with pytest.raises(UserError, match="iassf_release has no prompt pool that can be resized"):
        with_prompt_size(Weights({"name": "iassf_release", "prompt_size": 256}, pool), 8)
