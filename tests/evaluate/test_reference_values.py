"""examples/reference_values.py, on a PyTorch network with seeded weights, makes a file that `compare` passes."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import released
from iassf_jax.data import images
from iassf_jax.data.haze import apply_haze, draw_haze
from iassf_jax.evaluate.parity import compare
from iassf_jax.scenes import SceneSource
from iassf_jax.weights.torch_file import write_torch

torch = pytest.importorskip("torch", reason="needs PyTorch (extra 'parity')")

SCRIPT = Path(__file__).parents[2] / "examples" / "reference_values.py"


@pytest.mark.slow
def test_the_documented_way_to_compare(tmp_path, monkeypatch):
    from benchmarks.torch_release import load

    monkeypatch.chdir(tmp_path)
    scene = SceneSource(1, 3, 52, 64)[0]
    haze = draw_haze("msrs_release", np.random.default_rng(0))
    images.write_image("hazy.png", apply_haze(scene.visible, haze))
    images.write_image("infrared.png", scene.infrared)
    Path("IASSF.pth").write_bytes(write_torch(released.state_dicts()))
    dehaze, fusion = load("IASSF.pth")
    runpy.run_path(str(SCRIPT))["save_values"](dehaze, fusion)
    report = compare("IASSF.pth", "values.npz", "out")
    assert report.passed, report.text()
    assert not report.absent and {row.given for row in report.rows} == {"images", "features", "density"}
