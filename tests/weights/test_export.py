"""Exported files: loaded without this package they give what the network gives."""

import runpy
import sys
import types
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from data.test_orientation import with_exif
from iassf_jax.cli.main import main
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.fuse.fuser import Fuser
from iassf_jax.models import build_model, full_settings
from iassf_jax.models.fast.plain import is_portable, plain_operations
from iassf_jax.scenes import write_scenes
from iassf_jax.weights import export
from iassf_jax.weights.formats import Weights, write_weights

EXAMPLES = Path(__file__).parents[2] / "examples"
NETWORKS = ("iassf", pytest.param("iassf_release", marks=pytest.mark.slow))


def small(name, **changes):
    settings = tiny.get_config().model.to_dict() if name == "iassf" else {"depths": (2, 2, 2, 1, 1), "prompt_size": 8}
    settings = full_settings({**settings, "name": name, **changes})
    visible, infrared = pair(1, 32, 32)
    params = jax.jit(build_model(settings).init)(jax.random.key(0), visible, infrared)
    return Weights(settings, jax.tree.map(np.asarray, params))


def soft():
    """Soft reconstruction; fresh, its last layers are zero and hide what they are given."""
    weights = small("iassf", reconstruction="soft")
    rng = np.random.default_rng(1)
    heads = weights.params["params"]["heads"]
    for name in ("dehazed", "fused"):
        heads[name]["kernel"] = rng.normal(0, 0.1, heads[name]["kernel"].shape).astype(np.float32)
    return weights


def pair(*shape):
    x = np.random.default_rng(0).uniform(-1, 1, (*shape, 4)).astype(np.float32)
    return x[..., :3], x[..., 3:]


def of_network(weights, visible, infrared, names=export.OUTPUTS):
    out = jax.jit(build_model(weights.model).apply)(weights.params, visible, infrared)
    return [np.asarray(out[name]) for name in names]


def assert_same(found, wanted, tolerance=2e-5):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NETWORKS)
def test_stablehlo_takes_any_batch_and_multiples_of_32(name, tmp_path):
    weights = small(name)
    exported = export.export_stablehlo(weights, tmp_path / "network")
    assert exported.shape == "b, 32*h, 32*w, 3" and max(exported.differences.values()) < 1e-4
    loaded = jax.export.deserialize(bytearray((tmp_path / "network").read_bytes()))
    assert loaded.platforms == ("cpu", "cuda")
    inputs = pair(2, 64, 160)
    assert_same(loaded.call(*inputs), of_network(weights, *inputs))
    with pytest.raises(ValueError, match="32"):
        loaded.call(*pair(1, 64, 70))


@pytest.mark.slow
def test_soft_reconstruction_at_open_sizes(tmp_path):
    """Its steady border is cut from sizes that are symbols."""
    weights = soft()
    export.export_stablehlo(weights, tmp_path / "network")
    loaded = jax.export.deserialize(bytearray((tmp_path / "network").read_bytes()))
    inputs = pair(2, 64, 160)
    assert_same(loaded.call(*inputs), of_network(weights, *inputs))


def test_a_fixed_size_may_be_any(tmp_path):
    weights = small("iassf", dtype="bfloat16")
    exported = export.export_stablehlo(weights, tmp_path / "network", (30, 50), platforms=("cpu",))
    assert exported.shape == "b, 30, 50, 3"
    loaded = jax.export.deserialize(bytearray((tmp_path / "network").read_bytes()))
    inputs = pair(2, 30, 50)
    in_float32 = Weights({**weights.model, "dtype": "float32"}, weights.params)
    assert_same(loaded.call(*inputs), of_network(in_float32, *inputs))
    with pytest.raises(ValueError, match="shape"):
        loaded.call(*pair(2, 64, 64))


@pytest.mark.slow
def test_a_network_at_a_working_size_takes_one_size_and_gives_what_fuse_gives(tmp_path):
    weights = small("iassf", reconstruction="physical", working_size=32, patch=2)
    with pytest.raises(UserError, match="give --size"):
        export.export_stablehlo(weights, tmp_path / "network")
    exported = export.export_stablehlo(weights, tmp_path / "network", (48, 80), platforms=("cpu",))
    assert exported.shape == "b, 48, 80, 3" and list(exported.differences) == list(export.OUTPUTS)

    rng = np.random.default_rng(0)
    visible = rng.normal([200, 205, 210], 4, (48, 80, 3)).astype(np.uint8)  # fog with noise, which is not amplified
    infrared = rng.integers(256, size=(48, 80), dtype=np.uint8)
    file = jax.export.deserialize(bytearray((tmp_path / "network").read_bytes()))
    of_file = file.call(images.to_signed(visible)[None], images.to_signed(infrared)[None, ..., None])
    of_fuse = Fuser(weights)(visible, infrared)
    for found, wanted in zip(of_file, (of_fuse.fused, of_fuse.dehazed), strict=False):
        levels = 255 * np.clip(0.5 * np.asarray(found[0]) + 0.5, 0, 1)
        assert np.abs(levels - wanted).max() < 0.51
    own = of_network(weights, images.to_signed(visible)[None], images.to_signed(infrared)[None, ..., None])
    assert np.abs(np.asarray(of_file[1]) - own[1]).max() > 0.02  # the network's own amplifies it


def test_a_network_without_haze_estimate_gives_two_images(tmp_path):
    weights = small("iassf", without_hde=True)
    exported = export.export_stablehlo(weights, tmp_path / "network", (32, 32), platforms=("cpu",))
    assert list(exported.differences) == ["fused", "dehazed"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_plain_form_is_the_same_network(name):
    weights, inputs = small(name), pair(1, 40, 48)
    with plain_operations():
        traced = str(jax.make_jaxpr(build_model(weights.model).apply)(weights.params, *inputs))
        found = of_network(weights, *inputs)
    assert not [word for word in ("platform_index", "custom_vjp", "bitcast") if word in traced]
    assert_same(found, of_network(weights, *inputs), 1e-5 if name == "iassf" else 5e-3)


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="differs by"):
        export.export_stablehlo(small("iassf"), tmp_path / "network", (32, 32), platforms=("cpu",))
    assert not list(tmp_path.iterdir())


def test_a_file_has_no_kernel_of_one_kind_of_device(tmp_path, monkeypatch):
    """On a GPU the network would be traced with such kernels, which no file holds."""

    def look(*_, **__):
        raise UserError(f"portable: {is_portable()}")

    monkeypatch.setattr(export.jax.export, "export", look)
    with pytest.raises(UserError, match="portable: True"):
        export.export_stablehlo(small("iassf"), tmp_path / "network", (32, 32))


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"jax2onnx.*iassf-jax\[onnx\]"):
        export.export_onnx(small("iassf"), tmp_path / "network.onnx", 32, 32)


def test_a_run_time_that_refuses_the_file_is_explained(tmp_path, monkeypatch):
    proto = types.SimpleNamespace(SerializeToString=lambda: b"", doc_string="")
    refuse = types.SimpleNamespace(InferenceSession=lambda *args, **options: fail("Type (tensor(double))\nof node"))
    monkeypatch.setattr(
        export, "_onnx_packages", lambda: (types.SimpleNamespace(to_onnx=lambda *a, **b: proto), refuse)
    )
    with pytest.raises(UserError, match=r"^onnxruntime refuses .*tensor\(double\)\) of node\): nothing is written$"):
        export.export_onnx(small("iassf"), tmp_path / "network.onnx", 32, 32)
    assert not list(tmp_path.iterdir())


def fail(words):
    raise RuntimeError(words)


def test_a_converter_that_fails_is_explained(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise AttributeError("no attribute\n'ClosedJaxpr'")

    monkeypatch.setattr(export, "_onnx_packages", lambda: (types.SimpleNamespace(to_onnx=fail), None))
    with pytest.raises(UserError, match=r"^jax2onnx fails with jax .*'ClosedJaxpr'.*\[onnx\].*$"):
        export.export_onnx(small("iassf"), tmp_path / "network.onnx", 32, 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, words",
    [
        (["--format", "onnx"], "--size HEIGHT WIDTH"),
        (["--format", "stablehlo", "--size", "8", "64"], "16..4096"),
        (["--format", "stablehlo", "--output", "taken"], "exists already"),
        (["--format", "stablehlo", "--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_errors_are_one_line(options, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("taken").touch()
    with pytest.raises(SystemExit) as leave:
        main(["export", "--checkpoint", "iassf-msrs", "--output", "network", *options])
    assert leave.value.code.startswith("error: ") and words in leave.value.code and "\n" not in leave.value.code
    assert [path.name for path in Path().iterdir()] == ["taken"]


def test_stablehlo_by_command_and_example(tmp_path, capsys, monkeypatch):
    weights = small("iassf")
    monkeypatch.chdir(tmp_path)
    export_by_command(weights, "stablehlo")
    assert "largest difference" in capsys.readouterr().out
    assert_example_fuses("run_stablehlo.py", weights, (64, 96), monkeypatch)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_same_images(name, tmp_path):
    onnxruntime = onnx_packages()
    weights, path = small(name), tmp_path / "network.onnx"
    exported = export.export_onnx(weights, path, 40, 72, batch=2)
    assert max(exported.differences.values()) < 1e-4
    assert len(exported.given_density) == (2 if name == "iassf_release" else 0)
    session = onnxruntime.InferenceSession(path)
    assert [x.name for x in session.get_inputs()] == ["visible", "infrared"]
    inputs = pair(2, 40, 72)
    found = session.run(list(export.OUTPUTS), dict(zip(("visible", "infrared"), inputs, strict=True)))
    assert_same(found, of_network(weights, *inputs), 1e-4)


def test_onnx_of_soft_reconstruction(tmp_path):
    onnx_packages()
    assert max(export.export_onnx(soft(), tmp_path / "network.onnx", 40, 72).differences.values()) < 1e-4


def test_onnx_by_command_and_example(tmp_path, capsys, monkeypatch):
    onnx_packages()
    weights = small("iassf")
    monkeypatch.chdir(tmp_path)
    export_by_command(weights, "onnx", "--size", 64, 96)
    assert "this size and batch only" in capsys.readouterr().out
    assert_example_fuses("run_onnx.py", weights, (64, 96), monkeypatch)


@pytest.mark.parametrize("script", ["run_stablehlo.py", "run_onnx.py"])
def test_examples_read_8_bits_as_they_are_stored(script, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    read = runpy.run_path(str(EXAMPLES / script))["read"]
    scene = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    for name, image in (("colour", scene), ("grey", scene[..., 0])):
        path = tmp_path / f"{name}.png"
        path.write_bytes(with_exif(".png", 3, image=image[..., ::-1] if image.ndim == 3 else image))
        np.testing.assert_array_equal(read(str(path), int(image.ndim == 3)), image.reshape(8, 12, -1))
    images.write_image(tmp_path / "raw.png", np.full((8, 12), 7000, np.uint16))
    with pytest.raises(SystemExit, match="raw.png: holds uint16 values: convert it to 8 bits"):
        read(str(tmp_path / "raw.png"), 0)


def onnx_packages():
    reason = "python -m pip install '.[onnx]'"
    if jax.__version_info__ >= (0, 11):
        pytest.skip(f"jax2onnx 0.13.0 fails with jax {jax.__version__}: {reason}")
    with export._quiet():  # importing it warns, and warnings are errors here
        pytest.importorskip("jax2onnx", reason=reason)
    return pytest.importorskip("onnxruntime", reason=reason)


def export_by_command(weights, kind, *options):
    write_weights(weights, "weights.safetensors")
    argv = ["export", "--checkpoint", "weights.safetensors", "--format", kind, "--output", "network", *options]
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in argv])
    assert leave.value.code is None


def assert_example_fuses(script, weights, padded, monkeypatch):
    """The example's PNG of a 60x80 pair is the network's image of the mirrored pair, cut."""
    (stem,) = write_scenes("scenes", 1, 0, 60, 80)
    sources = [f"scenes/{side}/{stem}.png" for side in ("vi", "ir")]
    monkeypatch.setattr(sys, "argv", [script, "network", *sources, "fused.png"])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    visible, infrared = images.read_visible(sources[0]), images.read_infrared(sources[1])[..., None]
    pads = ((0, padded[0] - 60), (0, padded[1] - 80), (0, 0))
    inputs = [jnp.asarray(images.to_signed(np.pad(x, pads, mode="symmetric"))[None]) for x in (visible, infrared)]
    (wanted,) = of_network(weights, *inputs, names=("fused",))
    found = images.read_image("fused.png").astype(int)
    assert found.shape == (60, 80, 3)
    assert np.abs(found - images.to_uint8(wanted[0, :60, :80])).max() <= 1
