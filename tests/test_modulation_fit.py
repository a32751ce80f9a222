"""The fit of global modulations to measurements of a frozen network."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from configs import msrs_modulation
from iassf_jax import measured_features
from iassf_jax.data import pipeline
from iassf_jax.errors import UserError
from iassf_jax.measured_features import GRID, dehazed, last_convolution, measure
from iassf_jax.metrics.psnr import psnr
from iassf_jax.models import build_model
from iassf_jax.models.restoration import modulation_names
from iassf_jax.modulation_fit import fit_modulation, starting_regions, whitening
from iassf_jax.weights.formats import read_weights, write_weights
from iassf_jax.weights.fresh_parts import with_global_modulation, with_soft_reconstruction

ROOT = Path(__file__).parents[1]


def get_config():
    """A tiny network with soft reconstruction, and generated scenes."""
    config = tiny.get_config()
    with config.unlocked():
        config.model.update(reconstruction="soft", global_modulation=True, modulation_passes=2)
        config.fit = msrs_modulation.get_config().fit
        config.fit.update(images=16, scenes=0, val_images=2)
        config.data.update(whole_size=(64, 96), horizontal_flip=False, vertical_flip=False)
        config.data.scenes.update(num_train=8, num_val=1, height=64, width=96)  # one: no batch of two
        config.data.haze.kinds = ("homogeneous",)
        config.optim.update(msrs_modulation.get_config().optim.to_dict())
        config.train.update(batch_size=4, steps=120, log_every=60)
    return config


@pytest.fixture(scope="module")
def network():
    """Random weights whose dehazed image is not the hazy one."""
    weights = with_soft_reconstruction(tiny.weights())
    convolution = last_convolution(weights)
    rng = np.random.default_rng(0)
    convolution["kernel"][:] = rng.normal(0, 0.01, convolution["kernel"].shape)
    return weights


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(measured_features, "PIECE", 8)


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    """Optax's Adam mixes its step counter with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("passes", [0, 2])
def test_the_measured_pixels_give_the_networks_dehazed_image(network, passes, monkeypatch):
    # The modulations change every channel, the same all over the image and whatever is in it: the network describes
    # all pixels, and measurements some.
    weights = with_global_modulation(network, passes, seed=1) if passes else network
    rng = np.random.default_rng(1)
    modulations = []
    for name in modulation_names(passes):
        modulation = weights.params["params"]["ia_frm"][name]
        modulation["change"] = {**modulation["change"], "bias": np.float32(np.tile(rng.normal(0, 0.5, 8), 6))}
        modulations.append(modulation)
    batch = {
        "hazy": np.float32(rng.uniform(-1, 1, (2, 64, 96, 3))),
        "infrared": np.float32(rng.uniform(-1, 1, (2, 64, 96, 1))),
        "clear": np.zeros((2, 64, 96, 3), np.float32),
    }
    places = []
    original = measured_features._one_in_each_cell
    monkeypatch.setattr(measured_features, "_one_in_each_cell", lambda *a: places.append(original(*a)) or places[-1])
    measured = measure(weights, batch, np.random.default_rng(2))
    assert measured["terms"].shape == (2, *GRID, 4, 4)
    out = jax.jit(build_model(weights.model).apply)(weights.params, batch["hazy"], batch["infrared"])["dehazed"]
    found = dehazed(modulations, last_convolution(weights), measured)
    assert len(found) == passes + 1
    for k in range(2):
        wanted = np.asarray(out[k])[np.ix_(*places[2 * k : 2 * k + 2])]
        np.testing.assert_allclose(found[-1][k], wanted, atol=4e-3)


def test_a_folded_first_layer_sees_whitened_descriptions():
    rng = np.random.default_rng(0)
    seen = np.float32(rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)) * [1, 10, 1, 1, 0.1] + 3)
    whole = {"hidden": {"kernel": np.eye(5, dtype=np.float32), "bias": np.zeros(5, np.float32)}, "regions": 1}
    for smoothing, low in ((1e-9, 0.99), (0.1, 0.0)):
        folded = whitening(seen, smoothing)(whole)
        white = seen @ np.asarray(folded["hidden"]["kernel"]) + np.asarray(folded["hidden"]["bias"])
        np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-2)
        covariance = np.cov(white.T)
        np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-2)
        assert low <= np.diag(covariance).min() < np.diag(covariance).max() < 1.01
        assert folded["regions"] == 1
    assert np.diag(covariance).min() < 0.5  # what hardly differs is not made as large as the rest


def test_the_regions_of_the_wave_follow_the_authors_haze():
    regions = starting_regions("wave")
    strongest = regions.argmax(axis=-1)
    assert regions.shape == (8, 8, 6) and strongest[0, 0] == 0 and strongest[7, 7] == 0
    assert set(np.unique(strongest)) == set(range(6))
    grid = starting_regions("grid").argmax(axis=-1)
    np.testing.assert_array_equal(grid[[0, 0, 4, 4, 7, 7], [0, 7, 1, 6, 0, 7]], range(6))


@pytest.mark.slow
def test_a_fit_brings_dehazed_images_of_the_network_nearer_to_clear_ones(network, tmp_path):
    write_weights(network, tmp_path / "start.safetensors")
    config = get_config()
    config.init_from = str(tmp_path / "start.safetensors")
    fitted = fit_modulation(config, tmp_path / "run")
    again = read_weights([tmp_path / "run" / "weights.safetensors"])
    jax.tree.map(np.testing.assert_array_equal, again.params, fitted.params)
    before, after = network.params["params"]["ia_frm"], fitted.params["params"]["ia_frm"]
    assert after.keys() - before.keys() == {"modulation", "modulation2"}
    jax.tree.map(np.testing.assert_array_equal, before, {name: after[name] for name in before})
    # The whole network, not the measured pixels, on the training scenes in another haze: eight teach no others.
    source, _ = pipeline.make_source(config.data, "train")
    iterator = pipeline.train_iterator(config.data, source, 8, seed=3)
    batch = next(iterator)
    iterator.close()
    scores = []
    for weights in (network, again):
        out = jax.jit(build_model(weights.model).apply)(weights.params, batch["hazy"], batch["infrared"])["dehazed"]
        scores.append(np.mean(psnr(jnp.clip(out, -1, 1), batch["clear"], 2.0)))
    assert scores[1] > scores[0] + 1.5
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 and "val/psnr" in lines[-1]

    with pytest.raises(UserError, match="exists already"):
        fit_modulation(config, tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").unlink()
    pieces = sorted((tmp_path / "run" / "measured").iterdir())
    assert [x.name for x in pieces] == ["train0000.safetensors", "train0001.safetensors", "val0000.safetensors"]
    times = [x.stat().st_mtime_ns for x in pieces]
    pieces[1].unlink()
    # Weights that have modulations already start from fresh ones, and so end in the same.
    config.init_from = str(tmp_path / "fitted.safetensors")
    write_weights(fitted, tmp_path / "fitted.safetensors")
    jax.tree.map(np.testing.assert_array_equal, fit_modulation(config, tmp_path / "run").params, fitted.params)
    assert [x.stat().st_mtime_ns for x in pieces][::2] == times[::2]

    (tmp_path / "run" / "weights.safetensors").unlink()
    config.data.haze.kinds = ("msrs_release",)
    with pytest.raises(UserError, match=r"train0000.safetensors: is of other weights or settings"):
        fit_modulation(config, tmp_path / "run")
    pieces[0].write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"train0000.safetensors: is damaged"):
        fit_modulation(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.fit.update(regions="rings"), "fit.regions is 'rings': use one of wave, grid"),
        (lambda c: c.fit.update(images=1), "fit.images is 1: use 2 or more"),
        (lambda c: c.fit.update(scenes=-1), "fit.scenes is -1: use 0 or more"),
        (lambda c: c.fit.update(smoothing=0.0), "fit.smoothing is 0.0"),
        (lambda c: c.fit.update(ceiling=0.0), "fit.ceiling is 0.0"),
        (lambda c: c.fit.update(harm=-1.0), "fit.harm is -1.0"),
        (lambda c: c.fit.update(harm=float("nan")), "fit.harm is nan"),
        (lambda c: c.train.update(steps=0), "train.steps is 0"),
        (lambda c: c.data.update(whole_size=()), "data.whole_size is ()"),
        (lambda c: c.update(init_from=""), "init_from is empty"),
    ],
)
def test_settings_that_make_no_fit_are_told(change, words, tmp_path):
    config = get_config()
    config.init_from = "iassf-msrs"
    change(config)
    with pytest.raises(UserError) as told:
        fit_modulation(config, tmp_path / "run")
    assert words in str(told.value)
    assert not (tmp_path / "run").exists()


def test_the_command_tells_bad_input_in_a_line(tmp_path):
    command = [sys.executable, str(ROOT / "fit_modulation.py"), "--config", "configs/msrs_modulation.py"]
    flags = ["--config.data.root=nowhere", "--config.init_from=iassf-msrs", "--workdir", str(tmp_path / "run")]
    run = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr.startswith("error: nowhere") and run.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
