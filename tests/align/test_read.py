"""Pairs for `align` are found, read and turned as `fuse` does it."""

import dataclasses

import cv2
import numpy as np
import pytest

from data.test_orientation import with_exif
from fuse.test_video_inputs import INFRARED, VISIBLE, turned, write
from iassf_jax.align.read import read_pairs
from iassf_jax.cli.main import main
from iassf_jax.data import images
from iassf_jax.data.orientation import upright
from iassf_jax.errors import UserError
from iassf_jax.fuse import video_files
from iassf_jax.fuse.pairs import Affixes
from image_files import save


def abouts(sample):
    return [note.about for _, note in sample.notes]


def test_tagged_images_are_turned_where_both_agree(tmp_path):
    paths = str(tmp_path / "v.png"), str(tmp_path / "i.png")
    save(tmp_path / "v.png", with_exif(".png", 6, image=VISIBLE[..., ::-1]))
    save(tmp_path / "i.png", with_exif(".png", 6, image=INFRARED))
    sample = read_pairs(*paths, 1)
    for image, stored in zip(sample.pairs[0], (VISIBLE, INFRARED), strict=True):
        np.testing.assert_array_equal(image, upright(stored, 6))
    assert "were turned upright" in abouts(sample)[0] and sample.notes[0][0] == paths[0]
    never = read_pairs(*paths, 1, orient="never")
    np.testing.assert_array_equal(never.pairs[0][0], VISIBLE)
    images.write_image(paths[1], INFRARED)
    sample = read_pairs(*paths, 1)
    np.testing.assert_array_equal(sample.pairs[0][0], VISIBLE)
    assert "say differently" in abouts(sample)[0]
    assert read_pairs(*paths, 1, orient="each").pairs[0][0].shape == (64, 48, 3)


def test_tagged_videos_are_turned_where_both_agree(tmp_path):
    for name in "vi":
        write(tmp_path / f"{name}.mp4", [VISIBLE] * 3, "mp4v")
    visible, infrared = turned(tmp_path / "v.mp4", 90), str(tmp_path / "i.mp4")
    sample = read_pairs(visible, infrared, 2)
    assert sample.pairs[0][0].shape == (48, 64, 3) and "say differently" in abouts(sample)[0]
    sample = read_pairs(visible, turned(tmp_path / "i.mp4", 90), 2)
    assert [image.shape for image in sample.pairs[0]] == [(64, 48, 3), (64, 48)]
    assert sample.names == ["frame 0", "frame 2"] and "were turned upright" in abouts(sample)[0]
    assert read_pairs(visible, infrared, 2, orient="never").pairs[0][0].shape == (48, 64, 3)


def test_videos_whose_frames_do_not_go_together_are_refused(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{rate}.avi", [VISIBLE] * 3, "MJPG", rate) for rate in (30, 29.97, 25)]
    with pytest.raises(UserError, match="30 and 25 frames a second"):
        read_pairs(paths[0], paths[2], 2)
    assert "different frame rates" in abouts(read_pairs(*paths[:2], 2))[0]
    real = video_files.described
    monkeypatch.setattr(video_files, "described", lambda path: dataclasses.replace(real(path), frames=0))
    with pytest.raises(UserError, match=r"30\.avi: does not say how many frames"):
        read_pairs(paths[0], paths[0], 2)


def test_temperatures_are_brought_to_16_bits(tmp_path):
    images.write_image(tmp_path / "v.png", VISIBLE)
    celsius = (10 + INFRARED / 255 * 20).astype(np.float32)
    save(tmp_path / "i.tif", bytes(cv2.imencode(".tif", celsius)[1]))
    paths = str(tmp_path / "v.png"), str(tmp_path / "i.tif")
    _, heat = read_pairs(*paths, 1).pairs[0]
    assert heat.dtype == np.uint16 and np.corrcoef(heat.ravel(), INFRARED.ravel())[0, 1] > 0.98
    celsius[3, 4] = np.nan
    save(tmp_path / "i.tif", bytes(cv2.imencode(".tif", celsius)[1]))
    with pytest.raises(UserError, match=r"i\.tif: holds values that are not finite"):
        read_pairs(*paths, 1)


def test_partners_are_named_as_for_fuse(tmp_path):
    images.write_image(tmp_path / "f/a_vi.png", VISIBLE)
    images.write_image(tmp_path / "f/a_ir.png", INFRARED)
    folder = str(tmp_path / "f")
    sample = read_pairs(folder, folder, 1, Affixes(visible_suffix="_vi", infrared_suffix="_ir"))
    np.testing.assert_array_equal(sample.pairs[0][1], INFRARED)


def test_what_has_no_partner_is_told_and_any_folder_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("vi/a", "vi/b", "aligned/a"):
        images.write_image(tmp_path / f"{name}.png", INFRARED if name == "aligned/a" else VISIBLE)
    sample = read_pairs("vi", "aligned", 5)
    assert sample.names == ["a"] and [problem.path for problem in sample.problems] == ["vi/b.png"]
    monkeypatch.setattr("iassf_jax.align.find.find_rig", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["align", "--visible", "vi", "--infrared", "aligned", "--output", "rig.json"])
    assert "1 left out:\nvi/b.png: there is no infrared image of this name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rig.json", "rig_overlay.png"])
def test_what_is_there_stays_unless_it_may_be_overwritten(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    arguments = ["align", "--visible", "none", "--infrared", "none", "--output", "rig.json"]
    with pytest.raises(SystemExit, match=rf"{name}: is there already"):
        main(arguments)
    with pytest.raises(SystemExit, match="no such file or folder"):
        main([*arguments, "--overwrite"])


def test_the_command_takes_names_and_orientation(tmp_path, monkeypatch, capsys):
    (tmp_path / "f").mkdir()
    save(tmp_path / "f/x_a_vi.png", with_exif(".png", 6, image=VISIBLE))
    save(tmp_path / "f/x_a.png", with_exif(".png", 6, image=INFRARED))
    seen = []

    def stop(pairs, *_):
        seen.extend(pairs)
        raise UserError("seen")

    monkeypatch.setattr("iassf_jax.align.find.find_rig", stop)
    folder, output = str(tmp_path / "f"), str(tmp_path / "rig.json")
    how = ["--visible-prefix", "x_", "--visible-suffix", "_vi", "--infrared-prefix", "x_"]
    with pytest.raises(SystemExit):
        main(["align", "--visible", folder, "--infrared", folder, "--output", output, *how])
    assert [image.shape for image in seen[0]] == [(64, 48, 3), (64, 48)]
    assert "both files lie turned" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["align", "--visible", folder, "--infrared", folder, "--output", output, *how, "--orient", "never"])
    assert seen[1][0].shape == (48, 64, 3) and "note" not in capsys.readouterr().err
