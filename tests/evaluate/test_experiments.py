"""Experiments: the variants of each config, what runs share, resuming, and the report."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import tiny
from configs import msrs
from configs.experiments import ablations, tables
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.evaluate import experiment_report, experiments
from iassf_jax.evaluate.experiments import _left, _scale, run_experiment
from iassf_jax.evaluate.variants import Variant, variants
from iassf_jax.files import write_bytes
from iassf_jax.models import build_model
from iassf_jax.report.formats import MAIN_TABLE
from iassf_jax.report.published import published_tables
from iassf_jax.scenes import write_scenes
from iassf_jax.train.config_checks import check_config
from iassf_jax.train.loop import Diverged

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs" / "experiments").glob("[a-z]*.py") if path.stem != "tables")


@pytest.mark.parametrize("base", ["msrs", "roadscene"])
@pytest.mark.parametrize("name", NAMES)
def test_every_variant_is_a_config_of_its_own(name, base):
    config = importlib.import_module(f"configs.experiments.{name}").get_config(base)
    assert config.is_locked
    runs = variants(config)
    for run in runs:
        assert "experiment" not in run.config
        check_config(run.config)
        build_model(run.config.model)
    assert len({run.slug for run in runs}) == len({run.name for run in runs}) == len(runs)
    # The rest of a config stays as the base has it.
    assert [run.slug for run in runs].count("base") == 1
    unchanged = next(run.config for run in runs if run.slug == "base")
    assert unchanged.to_dict() == importlib.import_module(f"configs.{base}").get_config().to_dict()


@pytest.mark.parametrize("name, table", [("ablations", "VII"), ("alpha", "VIII"), ("fusion_blocks", "IX")])
def test_variants_are_the_rows_of_the_papers_table(name, table):
    config = importlib.import_module(f"configs.experiments.{name}").get_config()
    rows = list(published_tables([table])[0].rows)
    assert config.experiment.published == (table,)
    assert [run.name.split(" = ")[-1] for run in variants(config)] == [row.removesuffix(" (paper)") for row in rows]


def test_experiments_on_one_base_share_its_run():
    every = [
        run for name in NAMES for run in variants(importlib.import_module(f"configs.experiments.{name}").get_config())
    ]
    by_slug = {}
    for run in every:
        assert by_slug.setdefault(run.slug, run.config) == run.config
    assert len(every) - len(by_slug) == len(NAMES) - 1


@pytest.mark.parametrize("base", ["haze", "msrs_physical"])
def test_the_tables_have_three_seeds_of_every_row_at_one_scale(base):
    config = tables.get_config(base)
    runs = variants(config)
    names = [run.name for run in runs]
    assert names[: len(runs) // 3] * 3 == names and len({run.slug for run in runs}) == len(runs)
    assert [run.config.seed for run in runs] == sorted(len(runs) // 3 * [0, 1, 2])
    assert {"whole", "without_hde", "alpha = 5", "M = 7", "working size 96", "direct", "released network"} <= set(names)
    for run in runs:
        check_config(run.config)
        build_model(run.config.model)
    assert {run.config.train.steps for run in runs} == {400}


def experiment(changes, **settings):
    config = tiny.get_config()
    with config.unlocked():
        config.train.steps = 2
        config.experiment = {"title": "Try", "published": (), "variants": tuple(changes.items()), "baselines": True}
        config.experiment.update(settings)
    return config


@pytest.mark.parametrize(
    "config, words",
    [
        (msrs.get_config(), "has no experiment: use one of configs/experiments/"),
        (experiment({}), "has no experiment"),
        (experiment({"x": {"model": {"colour": 1}}}), "'x' sets model.colour, which the config does not have"),
        (experiment({"x": {"loss": {"alpha": -1.0}}}), "loss.alpha is -1"),
        (experiment({"x": {"model": {"fusion_blocks": 2}}}), "fusion_blocks is 2"),
        (experiment({"x": {"model": {"name": "resnet"}}}), "unknown model 'resnet'"),
        (experiment({"x": {}}, compared_with="y"), "compared_with is 'y': give one of the variants"),
        (experiment({"x": {"seed": 1}}, seeds=2), "'x' sets its own seed: leave experiment.seeds at 1"),
    ],
)
def test_what_is_no_experiment_is_refused_before_any_training(config, words, tmp_path):
    with pytest.raises(UserError, match=words):
        run_experiment(config, tmp_path / "runs", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_run_with_other_settings_is_not_taken_for_this_one(tmp_path):
    other = tiny.get_config()
    with other.unlocked():
        other.loss.alpha = 7.0
        other.eval.num_images = 1  # may differ
        del other.model["bound"]  # as before that setting came: what it does without is the same
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(other.to_json_best_effort())
    with pytest.raises(UserError, match=r"loss.alpha was 7.0, is 2.0; train.steps was 4, is 2\): choose another"):
        run_experiment(experiment({"all": {}}), tmp_path, tmp_path / "out")


def test_none_takes_a_setting_away():
    changes = {"all": {}, "less": {"optim": {"clip_norm": None, "beta1": 0.5}}}
    whole, less = variants(experiment(changes))
    assert less.slug == "optim.beta1=0.5" and less.config.optim.beta1 == 0.5
    assert set(whole.config.optim) - set(less.config.optim) == {"clip_norm"}


def test_rows_of_another_network_and_long_settings_have_folders_of_their_own():
    kinds = ("homogeneous", "depth_like", "outdoor", "dense")
    changes = {name: {"model": {"name": "iassf_release", "dtype": name}} for name in ("float32", "bfloat16")}
    changes |= {str(n): {"data": {"haze": {"kinds": kinds * 9 + kinds[:n]}}} for n in (1, 2)}
    slugs = [run.slug for run in variants(experiment(changes))]
    assert slugs[:2] == ["iassf_release", "iassf_release,model.dtype=bfloat16"]
    assert len(set(slugs)) == 4 and max(map(len, slugs)) < 200


class Work:
    """Stands for training and evaluation, which take minutes, and keeps what was asked of them."""

    def __init__(self, monkeypatch, diverges=""):
        self.trained, self.scored, self.told, self.haze, self.with_baselines = [], [], [], [], []
        for name in ("train_and_evaluate", "evaluate_run", "write_experiment"):
            monkeypatch.setattr(experiments, name, getattr(self, name))
        monkeypatch.setattr(experiments, "read_means", lambda output: "")
        self.diverges = diverges

    def train_and_evaluate(self, config, folder):
        if self.diverges and folder.name == self.diverges:
            raise Diverged("step 2: loss nan")
        (folder / "checkpoints" / "2").mkdir(parents=True, exist_ok=True)
        self.trained.append(folder.name)

    def evaluate_run(self, folder, results, config, split, limit, with_baselines):
        self.scored.append(folder.name)
        self.with_baselines.append(with_baselines)
        self.haze.append(tuple(config.data.haze.kinds))
        write_bytes(results / "metrics.json", b'{"left_out": 0}')

    def write_experiment(self, config, runs, *where):
        self.told.append([run.slug for run in runs])


def test_a_row_that_diverges_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    work = Work(monkeypatch, diverges="loss.alpha=9.0,seed=1")
    config = experiment({"all": {}, "wild": {"loss": {"alpha": 9.0}}, "calm": {"loss": {"alpha": 1.0}}}, seeds=2)
    assert run_experiment(config, tmp_path / "runs", tmp_path / "out") == 1
    assert "the report goes without wild: step 2: loss nan" in capsys.readouterr().err
    assert len(work.trained) == 5
    assert work.told[-1] == ["base", "loss.alpha=1.0", "seed=1", "loss.alpha=1.0,seed=1"]
    with pytest.raises(UserError, match="no variant could be trained"):
        Work(monkeypatch, diverges="base")
        run_experiment(experiment({"all": {}}), tmp_path / "new", tmp_path / "out")


def test_all_rows_are_scored_on_the_haze_of_the_base(monkeypatch, tmp_path):
    """Also those that learned from another; and the baselines once, with the first row that does not diverge."""
    work = Work(monkeypatch, diverges="base")
    changes = {"all": {}, **{kind: {"data": {"haze": {"kinds": (kind,)}}} for kind in ("none", "homogeneous")}}
    config = experiment(changes)
    assert run_experiment(config, tmp_path / "runs", tmp_path / "out") == 1
    assert work.haze == [tuple(config.data.haze.kinds)] * 2 and work.haze[0] not in (("none",), ("homogeneous",))
    assert work.with_baselines == [True, False]
    config.eval.seed += 1
    run_experiment(config, tmp_path / "runs", tmp_path / "out")
    assert len(work.haze) == 4


def test_where_the_row_of_comparison_is_left_out_seeds_still_tell_what_differs(monkeypatch, tmp_path):
    """Best marks and means without deviation would say what they cannot."""
    told = {}
    monkeypatch.setattr(experiment_report, "write_report", lambda *args, **settings: told.update(settings))
    runs = [run for run in variants(experiment({"all": {}, "a": {"loss": {"alpha": 1.0}}}, seeds=2)) if run.name == "a"]
    runs += [Variant("b", run.slug + "b", run.config) for run in runs]
    for run, psnr in zip(runs := [runs[0], runs[2], runs[1], runs[3]], (20, 21, 22, 24), strict=True):
        text = f"table,method,image,dehazed PSNR\n{MAIN_TABLE},{run.name},x,{psnr}\n"
        write_bytes(tmp_path / "out" / run.slug / "scores.csv", text.encode())
    config = experiment({"all": {}}, compared_with="all", seeds=2)
    experiment_report.write_experiment(config, runs, tmp_path, tmp_path / "out", "val", "2 steps")
    assert told["seeds"].base == "a" and "of a differs by 2.00 dB" in told["about"]["seeds"]


def test_other_images_are_scored_anew(monkeypatch, tmp_path):
    work, folder = Work(monkeypatch), tmp_path / "data"
    stems = write_scenes(folder, 4, 0, 40, 56)
    config = experiment({"all": {}})
    config.data.update(source="pairs", root=str(folder))
    config.data.haze.kinds = ("homogeneous",)
    for expected in (1, 1, 2):
        assert run_experiment(config, tmp_path / "runs", tmp_path / "out", split="all", limit=expected // 2) == 0
        assert len(work.scored) == expected
    (folder / "vi" / f"{stems[0]}.png").unlink()
    run_experiment(config, tmp_path / "runs", tmp_path / "out", split="all", limit=1)
    assert len(work.scored) == 3
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "runs").rename(tmp_path / "moved_runs")
    run_experiment(config, tmp_path / "moved_runs", tmp_path / "moved", split="all", limit=1)
    assert len(work.scored) == 3


def test_a_split_without_images_is_told_before_any_training(tmp_path):
    config = experiment({"all": {}})
    config.data.update(source="pairs", root=str(tmp_path / "none"))
    config.data.haze.kinds = ("homogeneous",)
    with pytest.raises(UserError, match="none"):
        run_experiment(config, tmp_path / "runs", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_scale_names_what_every_row_sees():
    sizes = {"small": {"data": {"whole_size": ((48, 64),)}}, "large": {"data": {"whole_size": ((96, 128),)}}}
    runs = variants(experiment({"all": {}, **sizes}))
    assert _scale(runs, [2, 2, 9], {5}) == "2 or 9 steps of 2 whole images of 64x48 or 128x96 or crops of 24, 5 pairs"


def test_the_plan_counts_a_row_by_its_own_speed(tmp_path):
    """8 images a second of the row that was measured, 2 of the slow one, and of a third the median of all."""
    runs = variants(experiment({"all": {}, "slow": {"seed": 1}, "new": {"seed": 2}}))
    for run, rates in ((runs[0], (8, 8)), (runs[1], (2,))):
        lines = [json.dumps({"step": step, "train/images_per_second": rate}) for step, rate in enumerate(rates)]
        (tmp_path / run.slug).mkdir()
        (tmp_path / run.slug / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert _left(tmp_path, runs, [7200 * 4, 7200, 7200 * 4]) == "; 6.0 hours of training left"


def test_the_grid_shows_images_that_were_scored(tmp_path):
    """Those that cannot be decoded are seen only by an evaluation."""
    stems = write_scenes(tmp_path / "data", 4, 0, 40, 56)
    broken = tmp_path / "data" / "vi" / f"{stems[0]}.png"
    broken.write_bytes(broken.read_bytes()[:-500])
    for stem in stems[1:]:
        images.write_image(tmp_path / "out" / "base" / "fused" / f"{stem}.png", np.zeros((40, 56, 3), np.uint8))
    config = tiny.get_config()
    config.data.update(source="pairs", root=str(tmp_path / "data"))
    config.data.haze.kinds = ("homogeneous",)
    grid = experiment_report._grid([Variant("all", "base", config)], tmp_path / "out", "all", stems[1:])
    assert grid.labels == stems[1:] and grid.columns == ("hazy", "infrared", "clear", "all")


@pytest.mark.slow
@jax.numpy_dtype_promotion("standard")  # Optax's Adam mixes its step counter with floats
def test_variants_are_trained_compared_and_not_done_twice(tmp_path, capsys):
    config = experiment({"without": {"model": {"without_ir": True}}, "all": {}})
    assert run_experiment(config, tmp_path / "runs", tmp_path / "out", limit=2) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    rows = {row["name"]: row for row in summary["tables"][0]["methods"]}
    assert [*rows][:2] == ["without", "all"] and "dark channel + average" in rows
    assert rows["without"]["parameters"] < rows["all"]["parameters"]
    assert "2 steps of 2 crops of 24, 5 pairs" in summary["about"]["training"]
    assert "without" in (tmp_path / "out" / "report.html").read_text()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert len(made) == 2 * (2 * 2 + 1) + 2 * 3  # of the first, what the baselines were made of
    capsys.readouterr()
    assert run_experiment(config, tmp_path / "runs", tmp_path / "out", limit=2) == 0
    assert capsys.readouterr().err.splitlines() == [
        "1 of 2: without, seed 0; 0.0 hours of training left",
        "2 of 2: all, seed 0; 0.0 hours of training left",
    ]
    assert made == {path: path.stat().st_mtime_ns for path in made}


@pytest.mark.slow
@jax.numpy_dtype_promotion("standard")
def test_seeds_are_compared_and_the_plan_is_told(tmp_path, capsys):
    changes = {"without": {"model": {"without_ir": True}}, "all": {}}
    config = experiment(changes, seeds=2, compared_with="all", baselines=False)
    config.eval.every = 1
    assert run_experiment(config, tmp_path / "runs", tmp_path / "out") == 0
    told = capsys.readouterr().err
    assert "4 of 4: all, seed 1; 0.0 hours of training left" in told and "1 of 4: without, seed 0\n" in told
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "base",
        "seed=1",
        "model.without_ir=True",
        "model.without_ir=True,seed=1",
    }
    rows = list(csv.DictReader((tmp_path / "out" / "effects.csv").open()))
    of = {(row["row"], row["metric"]): row for row in rows}
    assert of["all", "dehazed PSNR"]["verdict"] == "base" and float(of["without", "dehazed PSNR"]["spread"]) > 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    means = {row["name"]: row for row in summary["tables"][0]["methods"]}
    scores = [json.loads((tmp_path / "out" / name / "summary.json").read_text()) for name in ("base", "seed=1")]
    both = [score["tables"][0]["methods"][0]["scores"]["dehazed PSNR"]["mean"] for score in scores]
    assert means["all"]["scores"]["dehazed PSNR"]["mean"] == pytest.approx(np.mean(both))
    assert float(of["all", "dehazed PSNR"]["mean"]) == pytest.approx(np.mean(both))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Differences from all" in page and "Validation PSNR over steps" in page


@pytest.mark.slow
def test_a_stop_keeps_what_is_done_and_the_command_goes_on(tmp_path):
    command = [sys.executable, "-m", "iassf_jax", "experiment", "--config", "configs/experiments/alpha.py:quickstart"]
    command += ["--workdir", str(tmp_path / "runs"), "--output", str(tmp_path / "out"), "--config.train.steps=1000"]
    command += [
        "--config.model.channels=4",
        "--config.model.fusion_channels=4",
        "--config.model.restoration_blocks=(1,)",
    ]
    command += ["--config.data.crop=24", "--config.train.log_every=1", "--config.model.fusion_blocks=1"]
    with start(command) as run:
        for line in run.stderr:
            if line.startswith("step 2/"):
                run.send_signal(signal.SIGTERM)
                break
        rest = run.stderr.read()
    assert run.returncode == 130 and "asked to stop" in rest and "2 of 6" not in rest
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["loss.alpha=0.5"]
    assert not (tmp_path / "out").exists()
    with start(command) as run:
        assert any("resuming at step" in line for line in run.stderr)
        run.kill()


def start(command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_base_may_be_any_config():
    assert ablations.get_config("quickstart").data.source == "scenes"
