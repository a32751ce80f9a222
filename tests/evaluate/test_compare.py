"""The comparison with PyTorch's values: it passes where they agree and fails where they do not."""

import json

import jax
import numpy as np
import pytest

import released
import tiny
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.evaluate.parity import compare
from iassf_jax.models import build_model, full_settings
from iassf_jax.weights.formats import Weights, write_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "seeded.safetensors"
    write_weights(Weights(full_settings({"name": "iassf_release"}), released.parameters()), path)
    return path


@pytest.mark.slow
def test_golden_values_pass_and_a_changed_stage_fails(golden, weights, tmp_path):
    reference = golden / "release" / "eval_64x96.npz"
    report = compare(weights, reference, tmp_path)
    assert report.passed and report.absent == ("prompt",)
    assert {row.stage for row in report.rows if row.given == "density"} == {"dehazed", "fused"}
    assert next(row.relative for row in report.rows if row.given == "features") < 1e-6
    assert report.text().count("| pass |") == len(report.rows) == 9
    assert json.loads((tmp_path / "comparison.json").read_text())["passed"]
    assert images.image_size(tmp_path / "differences.png")[0] > 700

    values = dict(np.load(reference))
    values["dehazed"] = values["dehazed"] * np.float32(1.001)
    del values["fog"], values["ir_rgb"]
    np.savez(tmp_path / "changed.npz", **values)
    changed = compare(weights, tmp_path / "changed.npz")
    assert {row.given for row in changed.rows} == {"images"} and "infrared image" in changed.absent
    values["fog"] = np.load(reference)["fog"]
    np.savez(tmp_path / "changed.npz", **values)
    failed = compare(weights, tmp_path / "changed.npz")
    assert [row.stage for row in failed.rows if not row.passed] == ["dehazed"]


IMAGES = {name: np.zeros((8, 8, 3), np.uint8) for name in ("hazy_u8", "ir_u8")}
FUSED = {"fused": np.zeros((1, 3, 8, 8), np.float32)}


@pytest.mark.parametrize(
    "values, words",
    [
        ({"hazy_u8": IMAGES["hazy_u8"]}, "needs ir_u8"),
        ({**IMAGES, "hazy_u8": np.zeros((8, 8, 3))}, "needs hazy_u8"),
        ({**IMAGES, "ir_u8": np.zeros((8, 4, 3), np.uint8), **FUSED}, "different shapes"),
        (IMAGES, "no stage"),
        ({**IMAGES, "fused": np.zeros((1, 8, 8, 3), np.float32)}, r"not float\[1, 3, 8, 8\]"),
        ({**IMAGES, "fused": np.full((1, 3, 8, 8), np.nan, np.float32)}, "fused holds numbers that are not finite"),
        ({n: np.zeros((2000, 2000, 3), np.uint8) for n in IMAGES}, "2000x2000 pixels"),
        ({**IMAGES, "fog": np.array([None])}, "cannot be read"),
    ],
)
def test_bad_reference_values(weights, tmp_path, values, words):
    np.savez(tmp_path / "values.npz", **values)
    with pytest.raises(UserError, match=words):
        compare(weights, tmp_path / "values.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_files_and_another_network(weights, tmp_path):
    for content in (b"", b"text", b"PK\x03\x04"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            compare(weights, tmp_path / "x.npz")
    with pytest.raises(UserError, match="cannot be read"):
        compare(weights, tmp_path / "none.npz")
    np.savez(tmp_path / "x.npz", **IMAGES, **FUSED)
    settings = full_settings(tiny.get_config().model)
    params = jax.jit(build_model(settings).init)(jax.random.key(0), np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 1)))
    write_weights(Weights(settings, params), tmp_path / "paper.safetensors")
    with pytest.raises(UserError, match="give weights of the authors' release"):
        compare(tmp_path / "paper.safetensors", tmp_path / "x.npz")
