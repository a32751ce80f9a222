"""Videos as thermal cameras and phones write them, and as broken copies leave them."""

import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from iassf_jax.align.placing import Placing
from iassf_jax.cli.main import main
from iassf_jax.errors import UserError
from iassf_jax.fuse import prepare, video
from iassf_jax.fuse.video_files import Frames, described
from image_files import sample, save
from stub_fuser import StubFuser

SIZE = (48, 64)
INFRARED = cv2.normalize(cv2.GaussianBlur(sample(SIZE), (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
VISIBLE = cv2.GaussianBlur(sample((*SIZE, 3), seed=1), (0, 0), 3)


def write(path, frames, codec="FFV1", rate=10, depth=cv2.CV_8U):
    grey = frames[0].ndim == 2
    options = [cv2.VIDEOWRITER_PROP_DEPTH, depth, cv2.VIDEOWRITER_PROP_IS_COLOR, int(not grey)]
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, size, options)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return str(path)


def read(path):
    frames = Frames(described(str(path)), 0)
    return list(frames)


def fused(tmp_path, visible, infrared, **options):
    output = tmp_path / "o.avi"
    outcome = video.fuse_videos(StubFuser(), visible, infrared, output, overwrite=True, **options)
    return outcome, read(output)


def turned(path, degrees):
    """The file with a player's turn to the right in its header, as phones write it."""
    data = bytearray(path.read_bytes())
    corner = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (65536 * x for x in corner)
    at = data.find(b"tkhd") + 4 + 40  # version 0: times, number and layer come before the matrix
    assert struct.unpack_from(">9i", data, at) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return str(path)


def test_16_bit_thermal_video_is_read_as_such(tmp_path):
    raw = (7000 + INFRARED / 255 * 330).astype(np.uint16)
    infrared = write(tmp_path / "i.mkv", [raw] * 10, depth=cv2.CV_16U)
    assert all(frame.dtype == np.uint16 and (frame == raw).all() for frame in read(infrared))
    visible = write(tmp_path / "v.mkv", [np.zeros((*SIZE, 3), np.uint8)] * 10)
    outcome, frames = fused(tmp_path, visible, infrared)
    assert outcome.frames == len(frames) == 10 and outcome.problems == []
    assert [note.about[:34] for note in outcome.notes] == ["raw thermal data were stretched to"]
    for frame in frames:
        assert np.corrcoef(frame.mean(axis=2).ravel(), INFRARED.ravel())[0, 1] > 0.98
        assert len(np.unique(frame[..., 1])) > 80
    kept, frames = fused(tmp_path, visible, infrared, preparation=prepare.Preparation(infrared_percentiles=None))
    assert kept.notes == [] and np.ptp(frames[0]) < 10
    given = prepare.Preparation(infrared_percentiles=(1, 99))
    assert fused(tmp_path, visible, infrared, preparation=given)[0].notes == []


def raw_mov(path, frames, code=b"b16g"):
    """Pixels as they are, with the high byte first. OpenCV writes only 8 bits, and of its grey here 255 is black."""
    doubled = [255 - np.frombuffer(frame.astype(">u2").tobytes(), np.uint8).reshape(SIZE[0], -1) for frame in frames]
    data = bytearray(Path(write(path, doubled, "b16g")).read_bytes())
    at = data.rfind(b"b16g")
    assert struct.unpack_from(">HH", data, at + 28) == doubled[0].shape[::-1]
    data[at : at + 4] = code
    struct.pack_into(">H", data, at + 28, SIZE[1])
    return str(save(path, data))


def test_16_bits_with_the_high_byte_first_are_read_as_such(tmp_path, capfd):
    frames = [(7000 + i + INFRARED / 255 * 330).astype(np.uint16) for i in range(10)]
    pngs = [("png ", "i.avi"), ("MPNG", "i.mkv"), ("png ", "i.mov")]
    paths = [write(tmp_path / name, frames, codec, depth=cv2.CV_16U) for codec, name in pngs]
    for path in [*paths, raw_mov(tmp_path / "raw.mov", frames)]:
        video = described(path)
        assert (video.is_raw, video.bits, video.frames, video.width, video.height) == (True, 16, 10, *SIZE[::-1])
        np.testing.assert_array_equal(read(path), frames)
    assert capfd.readouterr().err == ""
    data = bytearray(Path(paths[0]).read_bytes())
    at = [i for i in range(len(data)) if data.startswith(b"IDAT", i)][5] + 100
    data[at : at + 50] = bytes(50)
    visible = write(tmp_path / "v.avi", [VISIBLE] * 10, "MJPG")
    (problem,) = fused(tmp_path, visible, str(save(tmp_path / "damaged.avi", data)))[0].problems
    assert "ended after 5 frames of the 10 that it announces" in problem.reason


def test_more_bits_that_are_read_as_8_are_told(tmp_path):
    colours = raw_mov(tmp_path / "c.mov", [np.uint16(VISIBLE) * 257] * 2, b"b48r")
    video = described(colours)
    assert (video.is_raw, video.bits) == (False, 16) and np.abs(read(colours)[0] - VISIBLE.astype(int)).max() <= 1
    (note,) = fused(tmp_path, colours, write(tmp_path / "i.mkv", [INFRARED] * 2))[0].notes
    assert "ffmpeg -c:v ffv1 -pix_fmt gray16le" in note.about and note.detail == f"{colours}, 16 bits"


def test_the_frames_after_damage_are_not_counted(tmp_path):
    frames = [np.roll(VISIBLE, i, 1) for i in range(60)]
    whole, other = tmp_path / "whole.mkv", write(tmp_path / "other.avi", frames, "MJPG", 25)
    data = bytearray(Path(write(whole, frames, "MJPG", 25)).read_bytes())
    start, end = len(data) * 4 // 10, len(data) * 6 // 10
    data[start:end] = bytes(end - start)
    damaged = str(save(tmp_path / "damaged.mkv", data))
    outcome, made = fused(tmp_path, other, damaged)
    assert 20 < outcome.frames == len(made) < 30
    told = (
        f"ended after {len(made)} frames of the 60 that it announces, {other} has 60: the first {len(made)} are fused"
    )
    assert [problem.reason for problem in outcome.problems] == [told]


def test_grey_and_colour_videos_of_8_bits_stay_what_they_are(tmp_path):
    grey, colour = write(tmp_path / "g.mkv", [INFRARED] * 2), write(tmp_path / "c.mkv", [VISIBLE] * 2)
    assert (read(grey)[1] == INFRARED[..., None]).all() and (read(colour)[1] == VISIBLE[..., ::-1]).all()
    assert not described(grey).is_raw and described(grey).bits == 8


def test_videos_that_end_early_are_named_with_both_counts(tmp_path):
    whole = write(tmp_path / "whole.avi", [VISIBLE] * 30, "MJPG")
    short = write(tmp_path / "short.avi", [VISIBLE] * 10, "MJPG")
    outcome, frames = fused(tmp_path, whole, short)
    assert outcome.frames == len(frames) == 10
    assert [(problem.path, problem.reason) for problem in outcome.problems] == [
        (short, f"ended after 10 frames, {whole} has 30: the first 10 are fused")
    ]
    assert fused(tmp_path, short, whole)[0].problems == outcome.problems
    assert fused(tmp_path, whole, whole)[0].problems == []


def test_damaged_videos_are_named_with_what_they_announce(tmp_path, capfd):
    frames = [np.roll(VISIBLE, i, 1) for i in range(30)]
    whole = tmp_path / "whole.avi"
    write(whole, frames, "MJPG")
    cut = str(save(tmp_path / "cut.avi", whole.read_bytes()[: whole.stat().st_size * 6 // 10]))
    outcome, made = fused(tmp_path, str(whole), cut)
    assert 10 < outcome.frames == len(made) < 20
    (problem,) = outcome.problems
    assert problem.path == cut
    assert problem.reason.startswith(f"ended after {len(made)} frames of the 30 that it announces, {whole} has 30")
    both, again = fused(tmp_path, cut, cut)[0].problems
    assert both == again and f"frames of the 30 that it announces, {cut} has" in both.reason
    clip = tmp_path / "clip.mp4"
    write(clip, frames, "mp4v")
    data = bytearray(clip.read_bytes())
    start, end = data.find(b"mdat") + 4, data.find(b"moov") - 4
    assert 0 < start < end
    middle = (start + end) // 2
    data[middle:end] = bytes(end - middle)
    zeroed = str(save(tmp_path / "zeroed.mp4", data))
    outcome, made = fused(tmp_path, str(whole), zeroed)
    assert outcome.frames == len(made) < 25 and "of the 30 that it announces" in outcome.problems[0].reason
    assert capfd.readouterr().err == ""  # FFmpeg says it in many lines


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setattr("iassf_jax.fuse.fuser.load", lambda *args, **options: StubFuser())
    monkeypatch.setattr("iassf_jax.runtime.set_up", lambda: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets it


@pytest.mark.parametrize(
    "suffix, option, words",
    [
        ("avi", ["--damaged", "read"], "--damaged, .* are for images"),
        ("avi", ["--infrared-suffix", "_ir"], "suffixes are for images"),
        ("avi", ["--save", "panel"], "--save, .* are for images"),
        ("avi", ["--register"], "--register is for images"),
        ("png", ["--smoothing", "0"], "--smoothing is for videos"),
    ],
)
@pytest.mark.usefixtures("command")
def test_options_without_effect_are_refused(tmp_path, suffix, option, words):
    output = tmp_path / f"out.{suffix}"
    with pytest.raises(SystemExit, match=words):
        main(["fuse", "--visible", f"a.{suffix}", "--infrared", f"b.{suffix}", "--output", str(output), *option])


@pytest.mark.usefixtures("command")
def test_a_table_is_not_smoothed():
    with pytest.raises(SystemExit, match="--smoothing is for videos"):
        main(["fuse", "--pairs", "pairs.csv", "--output", "out", "--smoothing", "0.5"])


def test_videos_are_not_registered(tmp_path):
    with pytest.raises(UserError, match="--register is for images"):
        fused(tmp_path, "a.avi", "b.avi", placing=Placing(register=True))


@pytest.mark.usefixtures("command")
def test_the_command_keeps_what_was_made_and_gives_1(tmp_path, capsys):
    paths = [write(tmp_path / f"{n}.avi", [VISIBLE] * n, "MJPG") for n in (5, 3)]
    output = tmp_path / "o.mp4"
    with pytest.raises(SystemExit) as leave:
        main(["fuse", "--visible", paths[0], "--infrared", paths[1], "--output", str(output)])
    told = capsys.readouterr()
    assert leave.value.code == 1 and told.out == f"3 frames in {output}\n" and len(read(output)) == 3
    assert told.err.splitlines() == [
        "1 ended early:",
        f"{paths[1]}: ended after 3 frames, {paths[0]} has 5: the first 3 are fused",
    ]


def test_rates_that_differ_a_little_are_named(tmp_path):
    paths = [write(tmp_path / f"{rate}.avi", [VISIBLE] * 2, "MJPG", rate) for rate in (30, 29.97)]
    notes = fused(tmp_path, *paths)[0].notes
    assert len(notes) == 1 and "30 and 29.97" in notes[0].detail


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turns_of_videos_are_applied_where_both_agree(tmp_path, degrees):
    write(tmp_path / "v.mp4", [VISIBLE] * 2, "mp4v")
    write(tmp_path / "i.mp4", [VISIBLE[..., ::-1].copy()] * 2, "mp4v")
    _, plain = fused(tmp_path, str(tmp_path / "v.mp4"), str(tmp_path / "i.mp4"))
    visible = turned(tmp_path / "v.mp4", degrees)
    assert described(visible).turn == degrees and (described(visible).width, described(visible).height) == (64, 48)
    player = cv2.VideoCapture(visible)
    there, seen = player.read()
    player.release()
    np.testing.assert_array_equal(next(Frames(described(visible), degrees)), seen[..., ::-1])
    outcome, frames = fused(tmp_path, visible, str(tmp_path / "i.mp4"))
    assert "say differently how they lie" in outcome.notes[0].about and f"visible {degrees}" in outcome.notes[0].detail
    np.testing.assert_array_equal(frames, plain)
    infrared = turned(tmp_path / "i.mp4", degrees)
    outcome, frames = fused(tmp_path, visible, infrared)
    assert "were turned upright" in outcome.notes[0].about
    upright = np.rot90(plain[0], -degrees // 90)
    assert frames[0].shape == upright.shape and np.abs(frames[0].astype(int) - upright).mean() < 3
    np.testing.assert_array_equal(fused(tmp_path, visible, infrared, orient="never")[1], plain)


def test_each_video_by_its_own_turn(tmp_path):
    write(tmp_path / "v.mp4", [np.ascontiguousarray(np.rot90(VISIBLE))] * 2, "mp4v")
    infrared = write(tmp_path / "i.mp4", [VISIBLE] * 2, "mp4v")
    visible = turned(tmp_path / "v.mp4", 90)
    with pytest.raises(UserError, match="infrared is 64 x 48, visible 48 x 64"):
        fused(tmp_path, visible, infrared)
    outcome, frames = fused(tmp_path, visible, infrared, orient="each")
    assert outcome.notes == [] and frames[0].shape == (48, 64, 3)
