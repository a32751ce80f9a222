"""Scoring folders: pairs by name, resuming, what is left out, the command line, and the two-stage baselines."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.test_orientation import with_exif
from iassf_jax.data import images
from iassf_jax.data.haze import apply_haze, draw_haze
from iassf_jax.data.orientation import upright
from iassf_jax.errors import UserError
from iassf_jax.evaluate import folders as module
from iassf_jax.evaluate.baselines import average, baselines, dark_channel_dehazing, laplacian_pyramid, maximum
from iassf_jax.evaluate.folders import score_folders
from iassf_jax.metrics.fusion_scores import fusion_scores
from iassf_jax.metrics.psnr import psnr
from iassf_jax.scenes import SceneSource

REPOSITORY = Path(__file__).parents[2]
STEMS = ("a", "b")


@pytest.fixture
def data(tmp_path):
    """Two pairs of 48x56 and two methods."""
    for i, stem in enumerate(STEMS):
        scene = SceneSource(2, 4, 48, 56)[i]
        images.write_image(tmp_path / "vi" / f"{stem}.png", scene.visible)
        images.write_image(tmp_path / "ir" / f"{stem}.bmp", scene.infrared)
        for name, fuse in (("mean", average), ("max", maximum)):
            images.write_image(tmp_path / name / f"{stem}.png", fuse(scene.visible, scene.infrared))
    return tmp_path


def score(data, *names, **settings):
    methods = [(name, data / name) for name in names]
    return score_folders(methods, data / "vi", data / "ir", data / "out", **settings)


def summary(data):
    return json.loads((data / "out" / "summary.json").read_text())


def test_methods_side_by_side_and_the_same_numbers_as_the_function(data):
    files, problems, _ = score(data, "mean", "max")
    assert not problems and (data / "out" / "report.html") in files
    text = (data / "out" / "scores.csv").read_text()
    fused, visible = (images.read_image(data / folder / "a.png") for folder in ("max", "vi"))
    expected = fusion_scores(fused, images.read_image(data / "ir" / "a.bmp"), visible)
    assert f"{expected['Q_SCD']:.4f}" in text and text.count("\n") == 5
    assert "model.mat" in (data / "out" / "report.html").read_text()


def test_an_image_without_its_dehazed_one_is_reported_once(data):
    (data / "dehazed").mkdir()
    images.write_image(data / "dehazed" / "b.png", images.read_image(data / "vi" / "b.png"))
    _, problems, _ = score(data, "mean", "max", dehazed=[data / "dehazed", data / "vi"])
    assert [p.reason for p in problems] == ["there is no dehazed image of this name"]


def test_dehazed_images_are_compared_with_the_visible_ones(data):
    score(data, "mean", "max")
    score(data, "mean", "max", dehazed=[data / "max", data / "vi"])  # not what is known from before
    mean, best = (method["scores"] for method in summary(data)["tables"][0]["methods"])
    found, clear = (images.read_image(data / folder / "a.png") for folder in ("max", "vi"))
    text = (data / "out" / "scores.csv").read_text()
    assert f"{float(psnr(found[None], clear[None])[0]):.4f}" in text
    assert mean["dehazed SSIM"]["mean"] < best["dehazed SSIM"]["mean"] == 1.0
    images.write_image(data / "grey" / "a.png", found[..., 0])
    images.write_image(data / "grey" / "b.png", found)
    _, problems, _ = score(data, "mean", dehazed=[data / "grey"])
    assert len(problems) == 1 and "give colour images" in problems[0].reason


def test_what_is_scored_is_not_scored_again(data, monkeypatch):
    score(data, "mean")
    first = summary(data)
    calls = []
    real = module.fusion_scores
    monkeypatch.setattr(module, "fusion_scores", lambda *a: calls.append(a) or real(*a))
    score(data, "mean")
    assert not calls and summary(data) == first
    with (data / "out" / "scores.jsonl").open("a") as file:
        file.write('{"key": 3}\nnonsense\n{"key": "half')
    images.write_image(data / "mean" / "b.png", images.read_image(data / "mean" / "a.png"))
    score(data, "mean", "max")
    assert len(calls) == 3
    calls.clear()
    score(data, "mean", "max")
    score(data, "mean", color="rgb_mean")
    assert len(calls) == 2


def test_known_scores_are_those_of_the_first_time(data):
    tables = []
    for _ in range(2):
        score(data, "mean", dehazed=[data / "vi"])  # of equal images: an infinite PSNR
        tables.append((data / "out" / "scores.csv").read_text())
    assert tables[0] == tables[1] and "inf" in tables[0]


@pytest.mark.parametrize("tags, turned", [((1, 3, 3), True), ((3, 3, 3), True), ((3, 1, 3), False)])
def test_images_lie_as_fuse_takes_them(data, monkeypatch, tags, turned):
    """Of fused, infrared, visible: sources of one orientation are upright, as is what `fuse` makes of them."""
    seen = []
    monkeypatch.setattr(module, "fusion_scores", lambda *images: seen.extend(images[:3]) or {"Q_MI": 1.0})
    files = [data / "mean/a.png", data / "ir/a.png", data / "vi/a.png"]
    stored = [images.read_image(data / "mean/a.png"), images.read_image(data / "ir/a.bmp")]
    stored.append(images.read_image(data / "vi/a.png"))
    for path in (data / "mean/b.png", data / "ir/a.bmp", data / "ir/b.bmp"):
        path.unlink()
    for path, image, tag in zip(files, stored, tags, strict=True):
        path.write_bytes(with_exif(".png", tag, image=image[..., ::-1] if image.ndim == 3 else image))
    score(data, "mean")
    for image, found, tag in zip(stored, seen, tags, strict=True):
        np.testing.assert_array_equal(found, upright(image, tag if turned else 1))


def test_an_image_that_one_method_lacks_is_listed(data):
    (data / "mean" / "a.png").unlink()
    _, problems, _ = score(data, "mean", "max")
    assert [p.reason for p in problems] == ["has no image 'a', which another method has"]
    assert summary(data)["about"]["pairs without a fused image"] == "0"
    assert score(data, "mean")[1:] == ([], 1) and summary(data)["about"]["pairs without a fused image"] == "1"


def test_what_cannot_be_scored_is_listed_and_the_rest_is_done(data):
    images.write_image(data / "max" / "alone.png", images.read_image(data / "max" / "a.png"))
    images.write_image(data / "max" / "b.png", np.zeros((5, 5, 3), np.uint8))
    (data / "mean" / "a.png").write_text("no image")
    images.write_image(data / "mean" / "b.png", np.zeros((48, 56, 3), np.uint16))
    with pytest.raises(UserError, match=r"no image could be scored; the first of 2: .*mean"):
        score(data, "mean")
    _, problems, _ = score(data, "mean", "max")
    reasons = {Path(p.path).parent.name + "/" + Path(p.path).name: p.reason for p in problems}
    assert "there is no visible and no infrared image of this name" in reasons["max/alone.png"]
    assert "48x56" in reasons["max/b.png"] and "16 bits" in reasons["mean/b.png"] and "mean/a.png" in reasons
    assert len(problems) == 4 and "max" in (data / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"methods": [("x", "nowhere")]}, "is not a folder"),
        ({"methods": [("x", "mean"), ("x", "max")]}, "two methods are named 'x'"),
        ({"visible": "empty"}, "holds no images"),
        ({"dehazed": ("vi", "vi")}, "1 --fused and 2 --dehazed"),
        ({"published": ("XX",)}, "XX"),
    ],
)
def test_bad_settings(data, change, words):
    (data / "empty").mkdir()
    settings = {"methods": [("mean", "mean")], "visible": "vi", **change}
    methods = [(name, data / folder) for name, folder in settings.pop("methods")]
    with pytest.raises(UserError, match=words):
        score_folders(methods, data / settings.pop("visible"), data / "ir", data / "out", **settings)


@pytest.mark.slow
def test_command_line(data):
    command = [sys.executable, "-m", "iassf_jax", "metrics", "--visible", data / "vi", "--infrared", data / "ir"]
    command += ["--fused", data / "mean", "--fused", data / "max", "--output", data / "out"]
    done = subprocess.run(list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and "report.html" in done.stdout and not done.stderr
    means = json.loads((data / "out" / "summary.json").read_text())["tables"][0]["methods"][0]["scores"]
    assert f"{means['Q_MI']['mean']:.3f}" in done.stdout
    bad = subprocess.run([*map(str, command), "--name", "one"], cwd=REPOSITORY, capture_output=True, text=True)
    assert (
        bad.returncode == 1 and bad.stderr.startswith("error: 2 --fused and 1 --name") and bad.stderr.count("\n") == 1
    )


@pytest.fixture(scope="module")
def hazy():
    scene = SceneSource(1, 8, 120, 160)[0]
    return scene, apply_haze(scene.visible, draw_haze("homogeneous", np.random.default_rng(0)))


def test_dark_channel_dehazing_takes_haze_away(hazy):
    scene, image = hazy
    dehazed = dark_channel_dehazing(image)
    clear = scene.visible[None]
    assert float(psnr(dehazed[None], clear)[0]) > float(psnr(image[None], clear)[0]) + 1
    constant = np.full((20, 30, 3), 128, np.uint8)
    assert np.abs(dark_channel_dehazing(constant).astype(int) - 128).max() <= 1
    assert dark_channel_dehazing(np.zeros((3, 2, 3), np.uint8)).max() == 0


def test_fusion_rules(hazy):
    scene, _ = hazy
    visible, infrared = scene.visible, scene.infrared
    assert (maximum(visible, infrared) >= visible).all() and (maximum(visible, infrared) >= infrared[..., None]).all()
    mean = (visible.astype(float) + infrared[..., None]) / 2
    assert np.abs(average(visible, infrared) - mean).max() <= 0.5
    grey = np.repeat(infrared[..., None], 3, axis=2)
    assert np.abs(laplacian_pyramid(grey, infrared).astype(int) - grey).max() <= 1
    fused = laplacian_pyramid(visible, infrared)
    chroma = [cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(int) for x in (fused, visible)]
    assert np.median(np.abs(chroma[0] - chroma[1])) <= 1


def test_every_baseline_is_there(hazy):
    scene, image = hazy
    made = baselines(image, scene.infrared)
    assert len(made) == 6 and "dark channel + Laplacian pyramid" in made
    for dehazed, fused in made.values():
        assert dehazed.shape == fused.shape == image.shape and fused.dtype == np.uint8
    np.testing.assert_array_equal(made["none + maximum"][0], image)
    assert (laplacian_pyramid(image[:1, :1], scene.infrared[:1, :1])).shape == (1, 1, 3)


def test_opencvs_dark_channel_agrees_with_ours(hazy, tmp_path, monkeypatch):
    _, image = hazy
    images.write_image(tmp_path / "hazy" / "a.png", image)
    script = REPOSITORY / "examples" / "dark_channel_opencv.py"
    monkeypatch.setattr(sys, "argv", [script.name, str(tmp_path / "hazy"), str(tmp_path / "dehazed")])
    runpy.run_path(str(script), run_name="__main__")
    peer = images.read_image(tmp_path / "dehazed" / "a.png").astype(int)
    ours = dark_channel_dehazing(image).astype(int)
    assert np.abs(ours - image).mean() > 20
    assert np.abs(peer - ours).mean() < 1
