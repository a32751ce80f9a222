"""Weights from one form to another without losing a bit, and clear words about what does not fit."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

import released
import tiny
from iassf_jax.errors import UserError
from iassf_jax.models import build_model, full_settings
from iassf_jax.models.restormer import RestormerBlock
from iassf_jax.train.run_config import load_config
from iassf_jax.weights.formats import Weights, read_weights, write_weights
from iassf_jax.weights.torch_file import read_torch, write_torch
from iassf_jax.weights.torch_names import from_torch, official_restormer_block, to_torch

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A file as the authors', with seeded weights; its unused tensors and buffers are not those we would make."""
    states = released.state_dicts()
    states["dehaze_network_state_dict"]["w_ir"] = np.array([0.25], np.float32)
    buffer = "restormer_encoder.attn.attn.relative_positions"
    states["dehaze_network_state_dict"][buffer] = np.nextafter(
        states["dehaze_network_state_dict"][buffer], np.float32(9)
    )
    path = tmp_path_factory.mktemp("theirs") / "IASSF.pth"
    path.write_bytes(write_torch(states))
    return path


@pytest.fixture(scope="module")
def converted(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours") / "converted"
    write_weights(read_weights([theirs]), folder)
    return folder


def test_every_name_and_shape_is_theirs():
    ours = {entry.name: entry.torch_shape for entry in released.entries()}
    assert {name: released.manifest()[name] for name in ours} == ours
    kept = released.manifest().keys() - ours.keys()
    assert len(kept) == 28 and sum(name.endswith("relative_positions") for name in kept) == 24


@pytest.mark.parametrize("target", ["weights.safetensors", "folder"])
def test_what_the_release_computes_in_is_kept(converted, tmp_path, target):
    weights = read_weights([converted])
    write_weights(dataclasses.replace(weights, model={**weights.model, "dtype": "bfloat16"}), tmp_path / target)
    assert read_weights([tmp_path / target]).model == {**weights.model, "dtype": "bfloat16"}


@pytest.mark.parametrize("by_way_of", ["folder", "safetensors"])
def test_there_and_back_is_bit_identical(theirs, converted, tmp_path, by_way_of):
    source = converted
    if by_way_of == "safetensors":
        source = tmp_path / "weights.safetensors"
        write_weights(read_weights([converted]), source)
    write_weights(read_weights([source]), tmp_path / "back.pth")
    before, after = (read_torch(path.read_bytes(), "f") for path in (theirs, tmp_path / "back.pth"))
    assert before.keys() == after.keys()
    for network in before:
        assert before[network].keys() == after[network].keys()
        for name, x in before[network].items():
            assert x.tobytes() == after[network][name].tobytes(), name


def test_what_comes_back_loads_strictly_in_pytorch(converted, tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch (extra 'parity')")

    class Part(torch.nn.Module):
        pass

    write_weights(read_weights([converted]), tmp_path / "back.pth")
    loaded = torch.load(tmp_path / "back.pth", weights_only=True)
    for network in ("dehaze", "fusion"):
        root = Part()
        for name, shape in released.manifest().items():
            if name.startswith(network):
                *path, leaf = name.split(".")[1:]
                part = root
                for step in path:
                    if step not in part._modules:
                        part.add_module(step, Part())
                    part = part._modules[step]
                part.register_parameter(leaf, torch.nn.Parameter(torch.zeros(shape)))
        root.load_state_dict(loaded[f"{network}_network_state_dict"], strict=True)


def test_the_folder_holds_the_networks_config_and_where_it_is_from(theirs, converted):
    config = load_config(converted).to_dict()
    assert config["model"]["name"] == "iassf_release" and build_model(config["model"]) == released.MODEL
    assert config["source"]["file"] == "IASSF.pth" and len(config["source"]["sha256"]) == 64
    params = read_weights([converted]).params
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), params, read_weights([theirs]).params))


def test_a_training_checkpoint_and_the_parts_of_a_file(theirs, tmp_path):
    data = theirs.read_bytes()
    parts = [tmp_path / f"IASSF_part_{letter}" for letter in "abc"]
    for i, part in enumerate(parts):
        part.write_bytes(data[i * len(data) // 3 : (i + 1) * len(data) // 3])
    for sources in ([tmp_path], [parts[1]], parts[::-1]):
        assert read_weights(sources).source["sha256"] == read_weights([theirs]).source["sha256"]
    parts[1].unlink()
    with pytest.raises(UserError, match="part"):
        read_weights([tmp_path])
    states = {**released.state_dicts(), "optimizer_dehaze_state_dict": {"step": np.ones(1, np.float32)}}
    states["fusion_network_state_dict"] = {
        f"module.{name}": x for name, x in states["fusion_network_state_dict"].items()
    }
    (tmp_path / "training.pth").write_bytes(write_torch(states))
    assert read_weights([tmp_path / "training.pth"]).params["params"].keys() == {"dehaze", "fusion"}


def test_every_misfit_is_listed(tmp_path):
    states = released.state_dicts()
    dehaze = states["dehaze_network_state_dict"]
    dehaze["skip0.wait"] = dehaze.pop("skip0.weight")
    dehaze["skip1.bias"] = np.zeros(23, np.float32)
    states["fusion_network_state_dict"]["final_conv.bias"] = np.full(3, np.nan, np.float32)
    path = tmp_path / "renamed.pth"
    path.write_bytes(write_torch(states))
    with pytest.raises(UserError) as caught:
        read_weights([path])
    message = str(caught.value)
    for words in (
        "4 names",
        "missing dehaze.skip0.weight",
        "unexpected 'dehaze.skip0.wait'",
        "dehaze.skip1.bias has shape (23,), not (24,)",
        "fusion.final_conv.bias holds numbers that are not finite",
    ):
        assert words in message


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("restormer_encoder.attn.attn.relative_positions", np.zeros((64, 64, 2)), "8x8"),
        ("restormer_encoder.attn.attn.relative_positions", np.zeros((9, 2)), "has shape"),
        ("w_ir", np.zeros(2), "has shape"),
    ],
)
def test_unused_tensors_of_another_network_are_refused(tmp_path, name, value, words):
    states = released.state_dicts()
    states["dehaze_network_state_dict"][name] = value.astype(np.float32)
    (tmp_path / "x.pth").write_bytes(write_torch(states))
    with pytest.raises(UserError, match=words):
        read_weights([tmp_path / "x.pth"])


def test_integers_are_no_weights_and_half_precision_is():
    entry = next(e for e in released.entries() if e.name == "fusion.final_conv.bias")
    assert (
        from_torch([entry], {entry.name: np.ones(3, np.float16)})["params"]["fusion"]["final_conv"]["bias"].dtype
        == "f4"
    )
    with pytest.raises(UserError, match="int32"):
        from_torch([entry], {entry.name: np.ones(3, np.int32)})


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_whole_files_of_another_precision(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors.numpy.save({name: x.astype(dtype) for name, x in released.tensors().items()}))
    for one, other in zip(
        jax.tree.leaves(read_weights([path]).params), jax.tree.leaves(released.parameters()), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_a_damaged_folder(converted, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(converted, folder)
    for kept, words in [
        ({"dehaze.bogus": np.zeros(1, np.float32)}, "unexpected 'dehaze.bogus'"),
        ({"dehaze.w_ir": np.zeros(1, np.int32)}, "int32"),
        (None, "cannot be read"),
    ]:
        (folder / "kept.safetensors").write_bytes(safetensors.numpy.save(kept) if kept else b"junk")
        with pytest.raises(UserError, match=words):
            read_weights([folder])
    (folder / "kept.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    for change in ({"source": 5}, {"source": {"step": "x", "file": "a\nb"}}):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        assert read_weights([folder]).source == {"folder": "copy", "step": 0}
    for change in ({"model": {"name": {}}}, {"model": {"name": "iassf", "channels": "x"}}, {"a.b": 1}):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(UserError, match="copy"):
            read_weights([folder])


def test_nothing_that_is_there_is_overwritten(own, tmp_path):
    for name in ("a.pth", "a.safetensors", "a"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(UserError, match="exists already"):
            write_weights(own, tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
    for target in ("x" * 300, str(tmp_path / "a" / "b")):
        with pytest.raises(UserError, match="cannot be written"):
            write_weights(own, target)


def test_a_full_disk_is_told_before_anything_is_written(own, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match="MB free"):
        write_weights(own, tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "pipe", "/dev/zero", "y" * 300, tmp_path / "none"):
        with pytest.raises(UserError, match="there is no such file"):
            read_weights([source])


def test_another_pytorch_file_names_what_it_holds(tmp_path):
    (tmp_path / "other.pth").write_bytes(write_torch({"params": {"x": np.zeros(1, np.float32)}}))
    with pytest.raises(UserError, match=r"but 'params': give the authors' IASSF\.pth"):
        read_weights([tmp_path / "other.pth"])


@pytest.fixture
def own(tmp_path):
    """Weights of the paper's network."""
    settings = full_settings(tiny.get_config().model)
    params = jax.jit(build_model(settings).init)(
        jax.random.key(0), *(np.zeros((1, 8, 8, c), np.float32) for c in (3, 1))
    )
    return Weights(settings, jax.device_get(params), source={"step": 5})


@pytest.mark.parametrize("target", ["weights.safetensors", "folder"])
def test_the_papers_network_too(own, tmp_path, target):
    write_weights(own, tmp_path / target)
    again = read_weights([tmp_path / target])
    assert full_settings(again.model) == own.model and again.source["step"] == 5
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), again.params, own.params))
    with pytest.raises(UserError, match="no such network"):
        write_weights(own, tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()


def test_half_precision_is_half_the_size(own, tmp_path):
    for name, half in (("a", False), ("b", True)):
        write_weights(own, tmp_path / f"{name}.safetensors", half)
    full, small = (read_weights([tmp_path / f"{name}.safetensors"]).params for name in "ab")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), full, small)
    assert jax.tree.all(jax.tree.map(lambda x: x.dtype == np.float32, small))
    values = sum(x.size for x in jax.tree.leaves(full))
    saved = (tmp_path / "a.safetensors").stat().st_size - (tmp_path / "b.safetensors").stat().st_size
    assert saved == pytest.approx(2 * values, abs=1000)  # the headers' lengths differ a little
    with pytest.raises(UserError, match="half precision"):
        write_weights(own, tmp_path / "folder", half=True)


def test_safetensors_that_do_not_fit(own, tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(own, path)
    tensors = safetensors.numpy.load_file(path)
    name = sorted(tensors)[0]
    model = json.dumps({**own.model})
    for content, about, words in [
        ({n: x for n, x in tensors.items() if n != name}, {"model": model}, "missing"),
        (tensors, {"model": "{"}, "description"),
        (tensors, {"model": "[1]"}, "description"),
        (tensors, {"model": "[" * 100_000}, "description"),
        (tensors, {"model": "9" * 5000}, "description"),
        (tensors, {"model": json.dumps({**own.model, "encoder_blocks": 10**6})}, "encoder_blocks"),
        (tensors, {"model": json.dumps({**own.model, "channels": 4.0})}, "channels"),
        (tensors, {"model": json.dumps({**own.model, "restoration_blocks": [1000]})}, "restoration_blocks"),
        ({**tensors, name: np.full_like(tensors[name], np.inf)}, {"model": model}, "not finite"),
        ({**tensors, f"{name}.x": tensors[name]}, {"model": model}, "unexpected"),
        (tensors, {"model": json.dumps({**own.model, "name": "x"})}, "unknown model"),
        (tensors, None, "missing dehaze"),
    ]:
        path.write_bytes(safetensors.numpy.save(content, about))
        with pytest.raises(UserError, match=words):
            read_weights([path])
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be read"):
        read_weights([path])


def test_official_restormer_weights_are_strict():
    block = RestormerBlock(num_heads=1)
    params = jax.eval_shape(block.init, jax.random.key(0), np.zeros((1, 4, 4, 8), np.float32))
    with pytest.raises(
        UserError, match=r"missing level\.0\.attn\.project_out\.weight.*unexpected 'level\.0\.attn\.qkv\.bias"
    ):
        official_restormer_block({"level.0.attn.qkv.bias": np.zeros(24, np.float32)}, params, "level.0.")


def run(*arguments):
    command = [sys.executable, "-m", "iassf_jax", "convert", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_command_line(theirs, tmp_path):
    done = run(theirs, tmp_path / "folder")
    assert done.returncode == 0 and "11,197,422 parameters" in done.stdout and not done.stderr
    again = run(theirs, tmp_path / "folder")
    assert again.returncode == 1 and again.stderr.startswith("error: ") and again.stderr.count("\n") == 1
    assert "exists already" in again.stderr
    for source, words in [
        (tmp_path / "none.pth", "there is no such file"),
        (REPOSITORY / "README.md", "not a zip file"),
    ]:
        bad = run(source, tmp_path / "other")
        assert bad.returncode == 1 and words in bad.stderr and bad.stderr.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


def test_to_torch_and_back_changes_nothing():
    tensors = to_torch(released.entries(), released.parameters())
    assert all(np.array_equal(x, released.tensors()[name]) for name, x in tensors.items())
