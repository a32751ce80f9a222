"""Differences of rows that were trained from several seeds."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from iassf_jax.errors import UserError
from iassf_jax.metrics import Metric
from iassf_jax.report import write_report
from iassf_jax.report.effect_plots import intervals, small_multiples
from iassf_jax.report.effects import effects, effects_csv
from iassf_jax.report.inputs import Method, Seeds

UP, DOWN = Metric("PSNR", "higher"), Metric("Q_CV", "lower")


def runs(shift, seeds=3, images=20, between=0.05, seed=0):
    """Scores of images that differ much, in runs that differ little."""
    rng = np.random.default_rng(seed)
    easy = np.random.default_rng(99).normal(25, 5, images)
    found = []
    for _ in range(seeds):
        values = easy + shift + rng.normal(0, between) + rng.normal(0, 0.1, images)
        found.append(Method("x", {f"{i}": {"PSNR": value, "Q_CV": value} for i, value in enumerate(values)}))
    return found


def test_what_is_clear_is_told_and_what_is_noise_is_not():
    rows = {"base": runs(0), "up": runs(1, seed=1), "same": runs(0, seed=2), "noisy": runs(1, between=2, seed=3)}
    of = {(effect.row, effect.metric): effect for effect in effects(rows, "base", [UP, DOWN])}
    assert [of[row, "PSNR"].verdict for row in rows] == ["base", "better", "within the noise", "within the noise"]
    assert of["up", "Q_CV"].verdict == "worse"
    up = of["up", "PSNR"]
    assert up.low < up.difference < up.high and up.difference == pytest.approx(1, abs=0.15)
    means = [np.mean([x["PSNR"] for x in run.scores.values()]) for run in rows["up"]]
    assert up.mean == pytest.approx(np.mean(means)) and up.spread == pytest.approx(np.std(means, ddof=1))


def test_verdicts_without_any_difference_are_seldom():
    """Of 40 pairs of rows that differ in nothing but the seeds: 5 % by chance, of which half each way."""
    verdicts = [
        effects({"base": runs(0, seed=100 + k), "x": runs(0, seed=200 + k)}, "base", [UP])[1].verdict for k in range(40)
    ]
    assert verdicts.count("within the noise") >= 35


def test_images_that_some_run_has_no_value_for_are_left_out():
    rows = {"base": runs(0), "x": runs(1, seed=1)}
    rows["x"][0].scores["3"]["PSNR"] = float("nan")
    del rows["base"][1].scores["4"]
    shared = [f"{i}" for i in range(20) if i not in (3, 4)]
    mean = [np.mean([run.scores[i]["PSNR"] for i in shared for run in rows[name]]) for name in ("x", "base")]
    found = effects(rows, "base", [UP])[1]
    assert found.difference == pytest.approx(mean[0] - mean[1])


def test_one_image_gives_no_interval_and_no_verdict():
    found = effects({"base": runs(0, images=1), "x": runs(9, images=1)}, "base", [UP])[1]
    assert np.isnan(found.low) and found.verdict == "within the noise"
    assert "<svg" in intervals([found])


def test_what_lies_far_beyond_is_an_arrow_with_its_value():
    rows = {"base": runs(0), "far": runs(-3, seed=1), "beyond": runs(9, seed=2)}
    rows |= {f"near{i}": runs(0.1, seed=3 + i) for i in range(4)}
    svg = intervals(effects(rows, "base", [UP]))
    assert re.findall("\u2190 -?\\d|\\d \u2192", svg) == ["\u2190 -3", "9 \u2192"]


@pytest.mark.parametrize(
    "rows, base, words",
    [
        ({"a": runs(0)}, "b", "no row is named 'b': compare with one of a"),
        ({"a": runs(0), "b": runs(0, seeds=1)}, "a", "'b' has one seed: differences need two or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows, base, words):
    with pytest.raises(UserError, match=words):
        effects(rows, base, [UP])


def test_every_table_tells_spread_and_verdict_and_marks_no_best(tmp_path):
    rows = {"base": runs(0), "up": runs(1, seed=1), "same": runs(0, seed=2)}
    means = [Method(name, of_seeds[0].scores) for name, of_seeds in rows.items()]
    one = Method("single", runs(3)[0].scores)
    write_report(tmp_path, "T", [*means, one], [UP, DOWN], seeds=Seeds(rows, "base", {}))
    markdown, latex, page = ((tmp_path / name).read_text() for name in ("table.md", "table.tex", "report.html"))
    lines = {line.split("|")[1].strip(): line for line in markdown.splitlines() if line.startswith("|")}
    assert re.search(r"\d\.\d{3} \u00b1 0\.\d{3} \(better\) \|.* \u00b1 0\.\d{3} \(worse\)", lines["up"])
    assert "\u00b1" in lines["same"] and "(" not in lines["base"] + lines["same"]
    assert "\u00b1" not in lines["single"]
    assert "**" not in markdown and "textbf" not in latex and r"$\pm$" in latex
    assert page.count(">better<") == page.count(">worse<") == 1
    assert "Better or worse than base: the 95% interval" in markdown and "p < 0.05" in page.replace("&lt;", "<")


def test_files_and_plots_show_every_row():
    found = effects({"base": runs(0), "up": runs(1, seed=1)}, "base", [UP])
    lines = list(csv.DictReader(io.StringIO(effects_csv(found))))
    assert "'=1+1" in effects_csv([replace(found[0], row="=1+1")])
    assert [line["row"] for line in lines] == ["base", "up"] and lines[1]["verdict"] == "better"
    assert "up" in intervals(found) and ">base<" not in intervals(found)
    curves = {name: [([1, 2, 3], [10.0, 11.0, 12.0])] * 2 for name in ("base", "up", "a", "b", "c")}
    svg = small_multiples(curves, "base", "PSNR")
    assert all(f">{name}<" in svg for name in (*curves, "steps", "PSNR"))
