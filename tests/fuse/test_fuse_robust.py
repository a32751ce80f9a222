"""`iassf-jax fuse` where files are hostile, change, or cannot be written, and where two processes meet."""

import json
import os
import struct
import time

import cv2
import numpy as np
import pytest

from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.files import SCRATCH, write_bytes
from iassf_jax.fuse.files import Options, fuse_files
from iassf_jax.fuse.fuser import Result
from iassf_jax.fuse.tiling import Tiling
from iassf_jax.fuse.video import SteadyFuser, fuse_videos
from iassf_jax.locks import locked
from iassf_jax.weights.formats import Weights

STEMS = ("a", "b", "c")


class Network:
    """Stands for a Fuser: dehazed is the visible image mirrored, fused the infrared one in three channels."""

    def __init__(self):
        self.predictor, self.weights = self, Weights({"name": "none"}, {}, source={"sha256": "0"})

    def fuse_prepared(self, pair, strengths):
        return Result(images.three_channels(pair.infrared), pair.visible[:, ::-1], None, {})

    def steady(self, visible, infrared, known, smoothing, strengths):
        return {"fused": visible}, None


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, stem in enumerate(STEMS):
        images.write_image(f"vi/{stem}.png", np.full((8, 9, 3), i, np.uint8))
        images.write_image(f"ir/{stem}.png", np.full((8, 9), 10 * i, np.uint8))
    return tmp_path


def fuse(*more, output="out", **options):
    made, there, problems, _ = fuse_files(Network(), "vi", "ir", output, Options(**options), *more)
    return [item.stem for item in made], [item.stem for item in there], [problem.reason for problem in problems]


def test_a_hostile_file_is_listed_and_the_rest_is_made(folders):
    """An offset beyond all files once ended the whole run."""
    for stem, offset in (("d", 2**64 - 1), ("e", 2**63 - 1), ("f", 2**62)):
        (folders / "vi" / f"{stem}.tif").write_bytes(b"II+\0" + struct.pack("<HHQ", 8, 0, offset))
        images.write_image(f"ir/{stem}.png", np.zeros((8, 9), np.uint8))
    made, _, reasons = fuse()
    assert made == list(STEMS) and len(reasons) == 3
    assert all(reason == "is cut off in its header: copy or download it again" for reason in reasons)


def test_a_folder_is_one_process_s_and_shards_share_it(folders):
    with locked("out", "--output"), pytest.raises(UserError, match="another process works in it.*--output"):
        fuse()
    with locked("out", "--output", shared=True):
        with pytest.raises(UserError, match="another process"):
            fuse()
        assert fuse(shard=(1, 2))[0] == ["a", "c"] and fuse(shard=(2, 2))[0] == ["b"]
    assert fuse() == ([], list(STEMS), [])


def test_what_a_killed_run_was_writing_is_swept(folders):
    for name in (f"out/{SCRATCH}1-2.png", f"out/panel/{SCRATCH}1-2.png", "out/mine.png"):
        write_bytes(name, b"half")
    (folders / "out" / "mine.png").rename(folders / "out" / ".mine.tmp.png")
    fuse(save=("panel",))
    found = {str(path.relative_to(folders / "out")) for path in (folders / "out").rglob("*") if path.is_file()}
    pictures = {f"{stem}.png" for stem in STEMS}
    assert found == pictures | {f"panel/{name}" for name in pictures} | {"manifest.json", ".mine.tmp.png"}


def test_a_disk_that_fills_up_leaves_whole_files_and_the_next_run_goes_on(folders, monkeypatch):
    write = images.write_image

    def full(path, image):
        if "b.png" in str(path):
            raise UserError(f"{path}: cannot be written (No space left on device): check the disk")
        return write(path, image)

    monkeypatch.setattr(images, "write_image", full)
    made, _, reasons = fuse()
    assert made == ["a", "c"] and "No space left" in reasons[0]
    monkeypatch.undo()
    monkeypatch.chdir(folders)
    assert fuse() == (["b"], ["a", "c"], [])


def test_an_output_that_cannot_be_written_is_one_line(folders):
    (folders / "file").touch()
    with pytest.raises(UserError, match="cannot be written") as caught:
        fuse(output="file/out")
    assert "\n" not in str(caught.value)


def test_a_file_that_changes_while_it_is_used_is_not_passed_off(folders, monkeypatch):
    """The manifest knows the bytes that were fused: the next run sees that others are there now."""
    decode = images.decode_image

    def change(path, *rest):
        image = decode(path, *rest)
        if path == "vi/b.png":
            images.write_image(path, np.full((8, 9, 3), 77, np.uint8))
        return image

    monkeypatch.setattr(images, "decode_image", change)
    assert fuse()[0] == list(STEMS)
    monkeypatch.setattr(images, "decode_image", decode)
    with pytest.raises(UserError, match="b.png: was made from other images"):
        fuse()
    items = json.loads((folders / "out" / "manifest.json").read_text())["items"]
    assert len({item["inputs_sha256"] for item in items.values()}) == 3


def test_a_clock_that_is_set_back_changes_nothing(folders):
    """All that is there comes from tomorrow, and what was changed since is known nevertheless."""
    assert fuse()[0] == list(STEMS)
    for path in folders.rglob("*"):
        os.utime(path, (time.time() + 86400,) * 2)
    assert fuse() == ([], list(STEMS), [])
    images.write_image("vi/b.png", np.full((8, 9, 3), 77, np.uint8))
    with pytest.raises(UserError, match="b.png: was made from other images"):
        fuse()


def test_names_as_long_as_a_file_system_takes(folders):
    stem = "n" * 240
    for side, shape in (("vi", (8, 9, 3)), ("ir", (8, 9))):
        images.write_image(f"{side}/{stem}.png", np.zeros(shape, np.uint8))
    made, _, reasons = fuse(save=("panel", "dehazed"))
    assert stem in made and not reasons
    one = fuse_files(Network(), f"vi/{stem}.png", f"ir/{stem}.png", "one.png", Options(save=("panel",)))
    assert len(one[0]) == 1 and (folders / "one_panel.png").is_file()


@pytest.mark.parametrize("bad", [-1, -31, 1.5, None, "64"])
def test_tiles_that_cannot_be(bad):
    with pytest.raises(UserError, match="overlap is"):
        Tiling(overlap=bad)


@pytest.mark.parametrize("bad", [float("nan"), None, "0.5", (0.5,)])
def test_smoothing_that_cannot_be(bad):
    with pytest.raises(UserError, match="smoothing is"):
        SteadyFuser(Network(), bad)


def video(path, count=4):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for i in range(count):
        writer.write(np.full((48, 64, 3), 20 * i, np.uint8))
    writer.release()


def test_a_killed_video_is_started_again_and_leaves_nothing(folders):
    video("a.mp4")
    write_bytes(f"out/{SCRATCH}1-2.mp4", b"half")
    assert fuse_videos(Network(), "a.mp4", "a.mp4", "out/b.mp4").frames == 4
    assert [path.name for path in (folders / "out").iterdir()] == ["b.mp4"]
    write_bytes(f"out/{SCRATCH}1-2.mp4", b"somebody's")
    with locked("out", "--output", shared=True):
        assert fuse_videos(Network(), "a.mp4", "a.mp4", "out/c.mp4").frames == 4
    assert len(list((folders / "out").iterdir())) == 3


def test_a_video_that_the_disk_cuts_is_one_line_and_no_file(folders, monkeypatch):
    video("a.mp4")

    class Full:
        def write(self, frame):
            pass

        def release(self):
            pass

    monkeypatch.setattr("iassf_jax.fuse.video_files.writer", lambda *_: Full())
    with pytest.raises(UserError, match="could not be written in full: free space"):
        fuse_videos(Network(), "a.mp4", "a.mp4", "out/b.mp4")
    assert not list((folders / "out").iterdir())
