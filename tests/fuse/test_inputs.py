"""`iassf-jax fuse` on files that cameras make and copies break: what is read, turned, stretched, and what is told."""

import json
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.test_orientation import with_exif
from iassf_jax.cli.main import main
from iassf_jax.data import images
from iassf_jax.data.orientation import upright
from image_files import sample, save
from stub_fuser import StubFuser

VISIBLE = cv2.GaussianBlur(sample((48, 64, 3)), (0, 0), 3)
INFRARED = cv2.normalize(cv2.GaussianBlur(sample((48, 64), seed=1), (0, 0), 3), None, 5, 250, cv2.NORM_MINMAX)


@pytest.fixture
def fuse(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder with `v.png` and `i.png`; gives exit code, stderr, the fused image, the notes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets it
    monkeypatch.setattr("iassf_jax.fuse.fuser.load", lambda *args, **options: StubFuser())
    monkeypatch.setattr("iassf_jax.runtime.set_up", lambda: None)
    images.write_image("v.png", VISIBLE)
    images.write_image("i.png", INFRARED)

    def run(visible="v.png", infrared="i.png", *more):
        command = ["fuse", "--visible", visible, "--infrared", infrared, "--output", "o.png"]
        command += ["--overwrite", "--manifest", *more]
        (tmp_path / "o.png").unlink(missing_ok=True)
        with pytest.raises(SystemExit) as leave:
            main([str(word) for word in command])
        code = leave.value.code
        if isinstance(code, str):
            return 1, code, None, []
        made = (tmp_path / "o.png").is_file()
        record = json.loads((tmp_path / "o_manifest.json").read_text())["items"]["o"] if made else {}
        return code, capsys.readouterr().err, images.read_image("o.png") if made else None, record.get("notes", [])

    return run


def test_ordinary_images_give_no_notes(fuse):
    code, errors, fused, notes = fuse()
    expected = StubFuser()(VISIBLE, INFRARED).fused
    assert (code, errors, notes) == (0, "", []) and (fused == expected).all()


def test_a_cut_jpeg_is_refused_or_read_and_told(fuse, tmp_path):
    data = bytes(cv2.imencode(".jpg", VISIBLE[..., ::-1])[1])
    save(tmp_path / "cut.jpg", data[:-120])
    code, errors, fused, _ = fuse("cut.jpg")
    assert code == 1 and "cut.jpg: is truncated" in errors and "--damaged read" in errors and fused is None
    code, errors, fused, notes = fuse("cut.jpg", "i.png", "--damaged", "read")
    assert code == 0 and notes == ["the visible image is truncated and was read as far as it goes"]
    assert errors.startswith("note: cut.jpg: the visible image is truncated")
    save(tmp_path / "whole.jpg", data + b"\0" * 64 + b"\x12\xff\xda\x34" + b"\1" * 50)
    code, errors, whole, notes = fuse("whole.jpg")
    assert (code, errors, notes) == (0, "", []) and (whole[:24] == fused[:24]).all() and (whole != fused).any()


def test_raw_thermal_data_are_stretched_and_told(fuse):
    images.write_image("raw.png", (29315 + INFRARED / 255 * 1500).astype(np.uint16))
    code, errors, fused, notes = fuse("v.png", "raw.png")
    assert code == 0 and errors.startswith("note: v.png: raw thermal data were stretched")
    assert len(notes) == 1 and "of uint16" in notes[0]
    heat = 2 * fused.mean(axis=2) - VISIBLE.mean(axis=2)
    assert np.corrcoef(heat.ravel(), INFRARED.ravel())[0, 1] > 0.98
    assert fuse("v.png", "raw.png", "--infrared-percentiles", "none")[1:4:2] == ("", [])
    settings = json.loads(Path("o_manifest.json").read_text())["settings"]
    assert settings["infrared_percentiles"] is None and settings["visible_percentiles"] == "auto"
    assert fuse("v.png", "raw.png", "--infrared-percentiles", "1", "99")[1] == ""


def test_a_float_tiff_with_percentiles(fuse, tmp_path):
    save(tmp_path / "t.tif", bytes(cv2.imencode(".tif", (10 + INFRARED / 255 * 20).astype(np.float32))[1]))
    code, errors, _, _ = fuse("v.png", "t.tif")
    assert code == 1 and "--infrared-percentiles 1 99" in errors and len(errors.splitlines()) == 2
    code, errors, fused, _ = fuse("v.png", "t.tif", "--infrared-percentiles", "0", "100")
    scaled = (INFRARED - 5.0) / 245
    assert code == 0 and np.abs(2 * fused.astype(float) - VISIBLE - 255 * scaled[..., None]).max() <= 2
    save(tmp_path / "unit.tif", bytes(cv2.imencode(".tif", (INFRARED / 255).astype(np.float32))[1]))
    assert np.abs(fuse("v.png", "unit.tif")[2].astype(int) - fuse()[2]).max() <= 1
    colours = cv2.cvtColor((VISIBLE * 100.0).astype(np.float32), cv2.COLOR_RGB2BGR)
    save(tmp_path / "radiance.tif", bytes(cv2.imencode(".tif", colours)[1]))
    assert "--visible-percentiles 1 99" in fuse("radiance.tif")[1]
    fused = fuse("radiance.tif", "i.png", "--visible-percentiles", "0", "100")[2]
    spread = VISIBLE.astype(float) - VISIBLE.min()
    assert np.abs(2.0 * fused - 255 * spread / spread.max() - INFRARED[..., None]).max() <= 2


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientations_that_agree_are_applied(fuse, tmp_path, orientation):
    save(tmp_path / "v.jpg", with_exif(".jpg", orientation, image=VISIBLE))
    save(tmp_path / "i.webp", with_exif(".webp", orientation, image=INFRARED))
    _, errors, plain, _ = fuse("v.jpg", "i.webp", "--orient", "never")
    assert errors == "" and plain.shape == VISIBLE.shape
    code, errors, fused, notes = fuse("v.jpg", "i.webp")
    assert code == 0 and "note: v.jpg: both files lie turned" in errors and len(notes) == 1
    np.testing.assert_array_equal(fused, upright(plain, orientation))


def test_paths_in_python_are_read_as_the_command_reads_them(fuse, tmp_path):
    save(tmp_path / "v.jpg", with_exif(".jpg", 6, image=VISIBLE))
    save(tmp_path / "i.webp", with_exif(".webp", 6, image=INFRARED))
    _, errors, fused, _ = fuse("v.jpg", "i.webp")
    with pytest.warns(UserWarning, match="turned upright"):
        np.testing.assert_array_equal(StubFuser()("v.jpg", tmp_path / "i.webp").fused, fused)
    celsius = 10 + INFRARED / 255 * 20
    save(tmp_path / "t.tif", bytes(cv2.imencode(".tif", celsius.astype(np.float32))[1]))
    one = StubFuser()(VISIBLE, "t.tif", infrared_percentiles=(0, 100)).fused
    np.testing.assert_array_equal(one, fuse("v.png", "t.tif", "--infrared-percentiles", "0", "100")[2])


def test_an_orientation_of_one_file_is_named_and_applied_on_demand(fuse, tmp_path):
    """A phone writes the tag into one of the two; registered data sets are registered as stored."""
    turned = np.ascontiguousarray(np.rot90(VISIBLE))  # 6: a quarter to the right is needed
    save(tmp_path / "v.png", with_exif(".png", 6, image=turned[..., ::-1]))
    code, errors, _, _ = fuse()
    assert code == 1 and "infrared is 64 x 48, visible 48 x 64" in errors
    code, errors, fused, notes = fuse("v.png", "i.png", "--orient", "each")
    assert (code, errors, notes) == (0, "", [])
    np.testing.assert_array_equal(fused, StubFuser()(VISIBLE, INFRARED).fused)
    images.write_image("s.png", INFRARED[:, :48])
    save(tmp_path / "v.png", with_exif(".png", 6, image=np.ascontiguousarray(VISIBLE[:, :48])))
    _, errors, _, notes = fuse("v.png", "s.png")
    assert "the two files say differently" in errors and "visible 6, infrared 1" in notes[0]


def test_notes_of_many_pairs_are_one_line(fuse, tmp_path, capsys):
    for stem in "abc":
        images.write_image(tmp_path / "d" / f"{stem}_vis.png", VISIBLE)
        images.write_image(tmp_path / "d" / f"{stem}_ir.png", (7000 + INFRARED / 255 * 330).astype(np.uint16))
    affixes = ["--visible-suffix", "_vis", "--infrared-suffix", "_ir"]
    with pytest.raises(SystemExit) as leave:
        main(["fuse", "--visible", "d", "--infrared", "d", "--output", "out", *affixes])
    errors = capsys.readouterr().err
    assert leave.value.code == 0 and errors.count("\n") == 1
    assert errors.startswith("note: 3 pairs: raw thermal data") and "d/a_vis.png" in errors
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "b.png", "c.png", "manifest.json"}


def test_a_tagged_file_beside_an_array_is_told(fuse, tmp_path):
    save(tmp_path / "v.png", with_exif(".png", 6, image=VISIBLE[..., ::-1]))
    save(tmp_path / "i.png", with_exif(".png", 8, image=INFRARED))
    with pytest.warns(UserWarning, match=r"the visible file lies turned and was taken as stored.*tag 6"):
        fused = StubFuser()("v.png", INFRARED).fused
    np.testing.assert_array_equal(fused, StubFuser()(VISIBLE, INFRARED).fused)
    with pytest.warns(UserWarning, match=r"the infrared file lies turned .*tag 8"):
        np.testing.assert_array_equal(StubFuser()(VISIBLE, tmp_path / "i.png").fused, fused)
