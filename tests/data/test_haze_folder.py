"""Hazing a folder: what is written, kept and recorded, and what is refused."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from haze_images import smooth_image
from iassf_jax.cli.main import main
from iassf_jax.data import images
from iassf_jax.data.haze import HazeParams, apply_haze, draw_haze
from iassf_jax.data.haze.folder import haze_folder
from iassf_jax.errors import UserError


@pytest.fixture
def clear_folder(tmp_path):
    for index, stem in enumerate(("b", "a", "c.1")):
        images.write_image(tmp_path / "clear" / f"{stem}.png", smooth_image(20, 30, index))
    images.write_image(tmp_path / "clear" / "grey.tif", smooth_image(20, 30, 9, np.uint16)[..., 0])
    return tmp_path / "clear"


def test_folder_writes_what_the_records_say(tmp_path, clear_folder):
    calls = []
    out = tmp_path / "new" / "out"
    records, problems = haze_folder(
        clear_folder, out, "msrs_release", 7, progress=lambda done, total: calls.append((done, total))
    )
    assert not problems and [record.stem for record in records] == ["a", "b", "c.1", "grey"]
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "c.1.png", "grey.png", "haze.json"]
    written = json.loads((out / "haze.json").read_text())["images"]
    for record in records:
        expected = draw_haze("msrs_release", np.random.default_rng([7, zlib.crc32(record.stem.encode())]))
        assert record.params == expected == HazeParams.from_dict(written[record.stem]["params"])
        assert written[record.stem]["seed"] == 7 and written[record.stem]["source"] == record.source
        hazy = images.read_image(out / f"{record.stem}.png")
        assert np.array_equal(hazy, apply_haze(images.read_visible(record.source), expected))
    assert images.read_image(out / "grey.png").dtype == np.uint16


def test_folder_does_not_depend_on_the_other_files(tmp_path, clear_folder):
    records, _ = haze_folder(clear_folder, tmp_path / "all", "homogeneous", 7)
    for name in ("a.png", "grey.tif"):
        (clear_folder / name).unlink()
    fewer, _ = haze_folder(clear_folder, tmp_path / "few", "homogeneous", 7)
    assert [record.stem for record in fewer] == ["b", "c.1"]
    assert {record.params for record in fewer} < {record.params for record in records}
    assert (tmp_path / "all" / "b.png").read_bytes() == (tmp_path / "few" / "b.png").read_bytes()
    other, _ = haze_folder(clear_folder, tmp_path / "other", "homogeneous", 8)
    assert other[0].params != fewer[0].params


def test_folder_keeps_what_is_there_unless_told(tmp_path, clear_folder):
    out = tmp_path / "out"
    first, _ = haze_folder(clear_folder, out, "homogeneous", 1)
    before = (out / "a.png").read_bytes()
    (out / "b.png").unlink()
    kept, problems = haze_folder(clear_folder, out, "homogeneous", 1)
    assert not problems and kept == first and (out / "a.png").read_bytes() == before
    written = json.loads((out / "haze.json").read_text())["images"]
    for kind, seed, ranges, words in [
        ("outdoor", 1, None, "has haze 'homogeneous'"),
        ("homogeneous", 2, None, "another seed, range or depth map"),
        ("homogeneous", 1, {"airlight": (0.5, 0.6)}, "another seed, range or depth map"),
    ]:
        nothing, problems = haze_folder(clear_folder, out, kind, seed, ranges=ranges)
        assert not nothing and len(problems) == 4 and words in problems[0].reason
    assert json.loads((out / "haze.json").read_text())["images"] == written
    again, _ = haze_folder(clear_folder, out, "homogeneous", 2, overwrite=True)
    assert {record.seed for record in again} == {2} and (out / "a.png").read_bytes() != before


def test_a_second_folder_into_the_same_output_keeps_the_records_of_the_first(tmp_path, clear_folder):
    haze_folder(clear_folder, tmp_path / "out", "homogeneous", 1)
    images.write_image(tmp_path / "more" / "z.png", smooth_image(20, 30, 4))
    records, _ = haze_folder(tmp_path / "more", tmp_path / "out", "none", 1)
    assert [record.stem for record in records] == ["z"]
    written = json.loads((tmp_path / "out" / "haze.json").read_text())["images"]
    assert sorted(written) == ["a", "b", "c.1", "grey", "z"]


def test_a_kept_file_is_not_taken_for_the_haze_of_another_image(tmp_path, clear_folder, capsys):
    haze_folder(clear_folder, tmp_path / "out", "homogeneous", 0)
    images.write_image(tmp_path / "more" / "a.png", smooth_image(20, 30, 4))
    records, problems = haze_folder(tmp_path / "more", tmp_path / "out", "homogeneous", 0)
    assert not records and f"is of {clear_folder / 'a.png'}: choose another --output" in problems[0].reason
    with pytest.raises(SystemExit, match="0"):
        main(["haze", "--visible", str(clear_folder), "--output", str(tmp_path / "out"), "--kind", "homogeneous"])
    assert "4 hazy images in" in (told := capsys.readouterr().out) and "(4 were there; --overwrite makes" in told


def test_folder_does_not_invent_parameters_of_kept_files(tmp_path, clear_folder):
    images.write_image(tmp_path / "out" / "a.png", smooth_image(20, 30, 1))
    records, problems = haze_folder(clear_folder, tmp_path / "out", "homogeneous", 1)
    assert "a" not in [record.stem for record in records] and len(records) == 3
    assert [problem.path for problem in problems] == [str(tmp_path / "out" / "a.png")]
    assert "haze.json does not say how it was made" in problems[0].reason


def test_folder_goes_on_after_bad_files(tmp_path, clear_folder):
    (clear_folder / "bad.png").write_text("text")
    images.write_image(clear_folder / "b.bmp", smooth_image(20, 30, 1))
    records, problems = haze_folder(clear_folder, tmp_path / "out", "homogeneous", 1)
    assert [record.stem for record in records] == ["a", "c.1", "grey"]
    assert [(os.path.basename(p.path), p.reason.split(":")[0]) for p in problems] == [
        ("b.bmp", "has the same stem as b.png in the same folder"),
        ("bad.png", "is not a PNG, JPEG, WebP, BMP or TIFF image, whatever its name says"),
    ]
    assert sorted(json.loads((tmp_path / "out" / "haze.json").read_text())["images"]) == ["a", "c.1", "grey"]


def test_folder_with_depth(tmp_path, clear_folder):
    images.write_image(tmp_path / "depth" / "a.png", np.full((20, 30), 500, np.uint16))
    np.save(tmp_path / "depth" / "b.npy", np.full((20, 30), 5.0))
    images.write_image(tmp_path / "depth" / "c.1.png", np.full((20, 31), 500, np.uint16))
    records, problems = haze_folder(
        clear_folder, tmp_path / "out", "depth", 3, tmp_path / "depth", "depth", 0.01, {"beta": (0.1, 0.1)}
    )
    assert [(r.stem, r.depth_meaning, r.depth_scale, Path(r.depth).name) for r in records] == [
        ("a", "depth", 0.01, "a.png"),
        ("b", "depth", 0.01, "b.npy"),
    ]
    metres = np.full((20, 30), 5.0, np.float32)  # 500 * 0.01
    expected = apply_haze(images.read_visible(clear_folder / "a.png"), records[0].params, metres)
    assert np.array_equal(images.read_image(tmp_path / "out" / "a.png"), expected)
    reasons = {os.path.basename(problem.path): problem.reason for problem in problems}
    assert "depth map of shape (20, 31)" in reasons["c.1.png"] and "has no depth map" in reasons["grey.tif"]


def test_outdoor_haze_follows_depth_where_there_is_a_folder_of_it(tmp_path, clear_folder):
    slope = np.linspace(100, 50_000, 600).reshape(20, 30).astype(np.uint16)
    for stem in ("a", "b", "c.1", "grey"):
        images.write_image(tmp_path / "depth" / f"{stem}.png", slope)
    made_up, _ = haze_folder(clear_folder, tmp_path / "made_up", "outdoor", 3)
    followed, problems = haze_folder(clear_folder, tmp_path / "out", "outdoor", 3, tmp_path / "depth", "depth", 0.01)
    assert not problems and [Path(record.depth).name for record in followed] == [
        "a.png",
        "b.png",
        "c.1.png",
        "grey.png",
    ]
    assert [record.params for record in followed] == [record.params for record in made_up]
    clear = images.read_visible(clear_folder / "a.png")
    expected = apply_haze(clear, followed[0].params, slope.astype(np.float32) * np.float32(0.01))
    assert np.array_equal(images.read_image(tmp_path / "out" / "a.png"), expected)
    assert not np.array_equal(images.read_image(tmp_path / "made_up" / "a.png"), expected)


def test_folder_records_what_is_done_when_interrupted(tmp_path, clear_folder):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        haze_folder(clear_folder, tmp_path / "out", "homogeneous", 1, progress=stop)
    assert sorted(json.loads((tmp_path / "out" / "haze.json").read_text())["images"]) == ["a", "b"]
    records, problems = haze_folder(clear_folder, tmp_path / "out", "homogeneous", 1)
    assert len(records) == 4 and not problems


def test_images_made_anew_lose_their_records_first(tmp_path, clear_folder):
    """A killed process leaves images of which haze.json says nothing, in place of what no longer holds."""
    haze_folder(clear_folder, tmp_path / "out", "homogeneous", 1)
    at_once = []

    def look(done, total):
        at_once.append(json.loads((tmp_path / "out" / "haze.json").read_text())["images"])

    haze_folder(clear_folder, tmp_path / "out", "homogeneous", 2, progress=look, overwrite=True)
    assert at_once == [{}] * 4


def test_a_kept_file_of_other_depth_is_told(tmp_path, clear_folder):
    for stem in ("a", "b", "c.1", "grey"):
        images.write_image(tmp_path / "depth" / f"{stem}.png", np.full((20, 30), 500, np.uint16))
    made = haze_folder(clear_folder, tmp_path / "out", "outdoor", 1, tmp_path / "depth", "depth", 0.01)
    assert haze_folder(clear_folder, tmp_path / "out", "outdoor", 1, tmp_path / "depth", "depth", 0.01) == made
    for others in ((), (tmp_path / "depth", "depth", 0.1)):
        nothing, problems = haze_folder(clear_folder, tmp_path / "out", "outdoor", 1, *others)
        assert not nothing and len(problems) == 4 and "another seed, range or depth map" in problems[0].reason


def test_folder_stops_when_the_disk_refuses(tmp_path, clear_folder):
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        haze_folder(clear_folder, tmp_path / "out", "homogeneous", 1)


def test_folder_refuses(tmp_path, clear_folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(clear_folder)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "haze.json").write_text('{"images": {"a": {}}}')
    before = sorted(path.name for path in clear_folder.iterdir())
    out = tmp_path / "out"
    for arguments, match in [
        ((clear_folder, clear_folder, "homogeneous", 1), "is also an input folder"),
        ((clear_folder, tmp_path / "link", "homogeneous", 1), "is also an input folder"),
        ((clear_folder, tmp_path / "empty", "depth", 1, tmp_path / "empty", "depth", 1.0), "is also an input folder"),
        ((tmp_path / "empty", out, "homogeneous", 1), "has no images"),
        ((tmp_path / "gone", out, "homogeneous", 1), "cannot be listed"),
        ((clear_folder, out, "fog", 1), "unknown haze kind"),
        ((clear_folder, out, "homogeneous", -1), "seed is -1"),
        ((clear_folder, out, "depth", 1), "needs depth maps"),
        ((clear_folder, out, "homogeneous", 1, tmp_path / "empty"), "uses no depth maps"),
        ((clear_folder, out, "depth", 1, tmp_path / "empty"), "depth meaning is None"),
        ((clear_folder, out, "depth", 1, tmp_path / "empty", "disparity"), "depth scale is None"),
        ((clear_folder, out, "depth", 1, tmp_path / "empty", "depth", 1.0, {"q": (0, 1)}), "has no range 'q'"),
        ((clear_folder, tmp_path / "damaged", "homogeneous", 1), "haze.json: cannot be read"),
    ]:
        with pytest.raises(UserError, match=match) as caught:
            haze_folder(*arguments)
        assert "\n" not in str(caught.value)
    assert not out.exists() and sorted(path.name for path in clear_folder.iterdir()) == before
