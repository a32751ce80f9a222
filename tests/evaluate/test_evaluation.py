"""Prediction over images of many sizes, and evaluation of a run through its entry point."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.evaluate import scores as evaluation
from iassf_jax.evaluate.run import _write_scores, evaluate_run
from iassf_jax.fuse.network import Predictor, images_to_uint8
from iassf_jax.metrics.fusion_scores import fusion_scores
from iassf_jax.metrics.psnr import psnr
from iassf_jax.models import build_model
from iassf_jax.report.pictures import sample_grid
from iassf_jax.scenes import write_scenes
from iassf_jax.train.loop import train_and_evaluate
from iassf_jax.train.run_config import load_config

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def predictor():
    model = build_model(tiny.get_config().model)
    return Predictor(model, model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8, 8, 1))), 32)


def example(height, width, stem="a", dtype=np.uint8):
    rng = np.random.default_rng(height)
    top = np.iinfo(dtype).max
    hazy, clear = (rng.integers(0, top, (height, width, 3), dtype, endpoint=True) for _ in range(2))
    infrared = rng.integers(0, top, (height, width), dtype, endpoint=True)
    return {"stem": stem, "hazy": hazy, "clear": clear, "infrared": infrared}


def test_rounding_is_not_truncation():
    levels = jnp.array([-2.0, -1.0, -1 + 1.2 / 127.5, -1 + 1.6 / 127.5, 1.0, 7.0])
    np.testing.assert_array_equal(images_to_uint8(levels), [0, 0, 1, 2, 255, 255])
    np.testing.assert_array_equal(images_to_uint8(levels), images.to_uint8(np.asarray(levels)))


def test_sizes_and_batches_do_not_change_an_image(predictor):
    examples = [example(20, 30, "a"), example(21, 30, "b"), example(21, 30, "c"), example(70, 9, "d")]
    alone = [next(evaluation.predict(predictor, [e])) for e in examples]
    batched = list(evaluation.predict(predictor, examples, batch_size=2))
    assert [r["stem"] for r in batched] == ["a", "b", "c", "d"]
    for one, other, source in zip(alone, batched, examples, strict=True):
        assert one["fused"].shape == one["dehazed"].shape == source["hazy"].shape
        assert one["haze_density"].shape == source["infrared"].shape
        assert np.abs(one["fused"].astype(int) - other["fused"]).max() <= 1


def test_sixteen_bits_give_the_same_as_eight(predictor):
    eight = example(16, 16)
    sixteen = {n: x if n == "stem" else x.astype(np.uint16) * 257 for n, x in eight.items()}
    first, second = (next(evaluation.predict(predictor, [e])) for e in (eight, sixteen))
    assert np.abs(first["fused"].astype(int) - second["fused"]).max() <= 1
    scores = [evaluation.score(r) for r in (first, second)]
    assert scores[0]["psnr_hazy"] == pytest.approx(scores[1]["psnr_hazy"], rel=1e-4)


def test_a_perfect_image_scores_best():
    pair = example(20, 20)
    scores = evaluation.score({**pair, "dehazed": pair["clear"]})
    assert scores["psnr"] == np.inf and scores["ssim"] == pytest.approx(1.0)
    assert scores["psnr_hazy"] < 20 and scores["ssim_hazy"] < 0.5


def test_sample_grid_shows_all(predictor):
    results = list(evaluation.predict(predictor, [example(20, 30), example(40, 30, dtype=np.uint16)]))
    grid = sample_grid(results, height=40)
    assert grid.shape == (22 + 2 * 40, 6 * 60, 3) and grid.dtype == np.uint8
    results[0].pop("haze_density")
    assert (sample_grid(results[:1], height=40)[22:, 120:180] == 128).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_scenes(folder / "set", 6, height=40, width=56)
    config = tiny.get_config()
    config.data.source, config.data.root = "pairs", str(folder / "set")
    config.data.haze.kinds = ("homogeneous",)
    config.data.val_fraction = 0.34
    config.train.batch_size = 1
    config.train.steps = 1
    with jax.numpy_dtype_promotion("standard"):
        train_and_evaluate(config, folder / "run")
    return folder


@pytest.mark.slow
def test_eval_writes_images_and_scores(run, tmp_path):
    assert evaluate_run(run / "run", tmp_path, split="all") == 0
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    summary = json.loads((tmp_path / "metrics.json").read_text())
    assert len(rows) == summary["num_images"] == 6 and summary["step"] == 1
    for name in ("psnr", "ssim", "psnr_hazy", "ssim_hazy"):
        assert summary["means"][name] == pytest.approx(np.mean([float(r[name]) for r in rows]), rel=1e-4)
    for row in rows:
        fused = images.read_image(tmp_path / "fused" / f"{row['image']}.png")
        assert fused.shape == (40, 56, 3) and fused.dtype == np.uint8
        assert (tmp_path / "dehazed" / f"{row['image']}.png").exists()
    assert (tmp_path / "samples.png").exists()


@pytest.mark.slow
def test_eval_reports_a_bad_file_and_does_the_rest(run, tmp_path):
    data = tmp_path / "set"
    stems = write_scenes(data, 3, height=40, width=56)
    (data / "ir" / f"{stems[1]}.png").write_text("not an image")
    command = [sys.executable, "eval.py", "--checkpoint", str(run / "run"), "--output", str(tmp_path / "out")]
    command += [
        "--split",
        "all",
        "--config",
        "tests/tiny.py",
        "--config.data.haze.kinds=('none',)",
        "--config.data.source=pairs",
        f"--config.data.root={data}",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{stems[1]}.png" in done.stderr and "1 files are left out" in done.stderr
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["num_images"] == 2


@pytest.mark.slow
def test_eval_without_a_run_is_one_line(tmp_path):
    command = [sys.executable, "eval.py", "--checkpoint", str(tmp_path), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_baselines_stand_in_the_report_and_leave_the_runs_own_numbers_alone(run, tmp_path):
    assert evaluate_run(run / "run", tmp_path / "with", split="val", with_baselines=True) == 0
    assert evaluate_run(run / "run", tmp_path / "without", split="val") == 0
    ours = [(tmp_path / folder / "metrics.csv").read_text() for folder in ("with", "without")]
    assert ours[0] == ours[1]
    summary = json.loads((tmp_path / "with" / "summary.json").read_text())
    assert "dark channel + maximum" in json.dumps(summary)
    page = (tmp_path / "with" / "report.html").read_text()
    assert "none + average" in page and "Laplacian pyramid" in page and "iassf" in page
    row = next(csv.DictReader(ours[0].splitlines()))
    fused = images.read_image(tmp_path / "with" / "fused" / f"{row['image']}.png")
    scene = run / "set"
    expected = fusion_scores(
        fused,
        images.read_infrared(scene / "ir" / f"{row['image']}.png"),
        images.read_visible(scene / "vi" / f"{row['image']}.png"),
    )
    assert float(row["Q_SCD"]) == pytest.approx(expected["Q_SCD"], rel=1e-4)
    hazy, infrared, clear = (
        images.read_image(tmp_path / "with" / kind / f"{row['image']}.png") for kind in ("hazy", "infrared", "clear")
    )
    assert float(row["psnr_hazy"]) == pytest.approx(float(psnr(hazy[None], clear[None])[0]), abs=0.01)
    assert fusion_scores(fused, infrared, clear)["Q_SCD"] == pytest.approx(expected["Q_SCD"])
    assert not (tmp_path / "without" / "hazy").exists()


def test_results_do_not_go_where_the_data_lie(tmp_path):
    config = tiny.get_config()
    config.data.update(source="pairs", root=f"{tmp_path / 'a' / 'hazy'},{tmp_path / 'b'}")
    config.data.haze.kinds = ("homogeneous",)
    for output in (tmp_path / "a" / "hazy", tmp_path / "a", tmp_path / "a" / ".." / "b"):
        with pytest.raises(UserError, match="holds the data: choose another --output"):
            evaluate_run(tmp_path / "run", output, config)


@pytest.mark.slow
def test_images_of_the_data_are_never_overwritten_or_removed(run, tmp_path):
    """A split's folder, and any other that is named, holds images of the names of results."""
    for kind in ("visible", "infrared"):
        images.write_image(tmp_path / "test" / kind / "a.png", np.zeros((40, 56, 3), np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    config = load_config(run / "run")
    config.data.root = str(tmp_path)
    with pytest.raises(UserError, match="test: holds the data: choose another --output"):
        evaluate_run(run / "run", tmp_path / "test", config, split="test", with_baselines=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize("name, text", [("metrics.csv", "epoch,loss\n1,2.0\n"), ("metrics.json", '{"loss": 2.0}')])
def test_another_programs_numbers_are_left_alone(run, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r"its metrics\.\* are not of an evaluation: choose another --output"):
        evaluate_run(run / "run", tmp_path, split="val")
    assert [path.read_text() for path in tmp_path.iterdir()] == [text]


@pytest.mark.slow
def test_nothing_of_an_earlier_evaluation_stays(run, tmp_path, capsys):
    evaluate_run(run / "run", tmp_path, split="all", limit=3, with_baselines=True)
    images.write_image(tmp_path / "clear" / "mine.png", np.zeros((4, 4), np.uint8))
    capsys.readouterr()
    config = load_config(run / "run")
    config.data.haze.kinds = ("none",)
    evaluate_run(run / "run", tmp_path, config, split="all", limit=1)
    assert len(list((tmp_path / "fused").iterdir())) == len(list((tmp_path / "dehazed").iterdir())) == 1
    assert [path.name for path in (tmp_path / "clear").iterdir()] == ["mine.png"]
    assert not any(any((tmp_path / kind).iterdir()) for kind in ("hazy", "infrared"))
    assert "1 images have no haze: they count in the dehazed PSNR alone" in capsys.readouterr().out


def test_scores_of_names_that_are_no_utf_8_are_written(tmp_path):
    """Linux allows any bytes; Python has them as lone surrogates."""
    _write_scores(tmp_path, {"caf\udce9": {"psnr": 20.0}}, {}, 0)
    assert "caf\\udce9,20" in (tmp_path / "metrics.csv").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text())["means"] == {"psnr": 20.0}
