"""Videos: streamed in, written as a whole, without flicker, and refused in one line."""

import tracemalloc

import cv2
import jax
import numpy as np
import pytest

import tiny
from iassf_jax.cli.main import main
from iassf_jax.errors import UserError
from iassf_jax.fuse.fuser import Fuser
from iassf_jax.fuse.video import SteadyFuser, fuse_videos


@pytest.fixture(scope="module")
def fuser():
    return Fuser(tiny.weights())


def video(path, count=5, size=(64, 96), rate=10, start=0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, size[::-1])
    for i in range(start, start + count):
        frame = np.full((*size, 3), 90, np.uint8)
        frame[20:40, 10 * i : 10 * i + 20] = (40, 120, 220)
        writer.write(frame)
    writer.release()
    return str(path)


def frames(path):
    reader, found = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = reader.read()
        if not there:
            return found, reader.get(cv2.CAP_PROP_FPS)
        found.append(frame)


def test_a_video_of_the_shorter_length(fuser, tmp_path):
    visible, infrared = video(tmp_path / "v.avi", 5), video(tmp_path / "i.avi", 4)
    seen = []
    count, _, problems = fuse_videos(
        fuser, visible, infrared, tmp_path / "new/o.mp4", progress=lambda *x: seen.append(x)
    )
    assert [problem.path for problem in problems] == [infrared]
    found, rate = frames(tmp_path / "new/o.mp4")
    assert count == len(found) == 4 and rate == pytest.approx(10) and found[0].shape == (64, 96, 3)
    assert seen == [(i, 4) for i in range(1, 5)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["o.mp4"]


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_of_odd_sides_loses_nothing(fuser, tmp_path, suffix):
    """OpenCV's usual writer cuts what is odd."""
    videos = [tmp_path / f"{name}.avi" for name in "vi"]
    for path in videos:
        writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (47, 33))
        for _ in range(2):
            writer.write(np.full((33, 47, 3), 90, np.uint8))
        writer.release()
    assert frames(videos[0])[0][0].shape == (33, 47, 3)
    fuse_videos(fuser, *map(str, videos), tmp_path / f"o{suffix}")
    assert [frame.shape for frame in frames(tmp_path / f"o{suffix}")[0]] == [(34, 48, 3)] * 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(fuser, tmp_path):
    """50 more frames of both videos would be 1.8 MB, kept as they are read."""
    peaks = []
    for count in (2, 10, 60):  # the first compiles
        videos = [video(tmp_path / f"{name}{count}.avi", count) for name in "vi"]
        tracemalloc.start()
        assert fuse_videos(fuser, *videos, tmp_path / f"o{count}.avi").frames == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 400_000


def test_the_command_fuses_videos(tmp_path, capsys):
    visible, infrared = video(tmp_path / "v.avi", 2), video(tmp_path / "i.avi", 2, (32, 48))
    command = ["fuse", "--visible", visible, "--infrared", infrared, "--output", str(tmp_path / "o.avi")]
    with pytest.raises(SystemExit) as leave:
        main(command)
    assert "48 x 32" in leave.value.code
    with pytest.raises(SystemExit) as leave:
        main([*command, "--save", "panel"])
    assert "--save" in leave.value.code


def test_without_smoothing_each_frame_is_for_itself(fuser):
    rng = np.random.default_rng(0)
    visible, infrared = rng.integers(0, 255, (32, 32, 3), np.uint8), rng.integers(0, 255, (32, 32), np.uint8)
    pairs = [(visible, infrared), ((visible * 0.9).astype(np.uint8), infrared // 4), (visible, infrared)]
    own, steady = SteadyFuser(fuser, 0.0), SteadyFuser(fuser, 0.9)
    for i, pair in enumerate(pairs):
        alone = fuser(*pair).fused
        np.testing.assert_array_equal(own(*pair)["fused"], alone)
        assert (steady(*pair)["haze_density"] == fuser(*pair).haze_density).all() == (i == 0)


def test_a_cut_starts_anew(fuser):
    rng = np.random.default_rng(0)
    dark, bright = (np.clip(rng.normal(mean, 5, (64, 64, 3)), 0, 255).astype(np.uint8) for mean in (40, 200))
    heat = rng.integers(0, 255, (64, 64), np.uint8)
    steady = SteadyFuser(fuser, 0.9)
    for _ in range(3):
        steady(dark, heat)
    np.testing.assert_array_equal(steady(bright, heat)["fused"], fuser(bright, heat).fused)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_outside_its_range_is_refused(fuser, smoothing):
    with pytest.raises(UserError, match="smoothing"):
        SteadyFuser(fuser, smoothing)


def test_bad_videos_are_told_in_one_line_and_leave_nothing(fuser, tmp_path):
    good, other_rate = video(tmp_path / "good.avi"), video(tmp_path / "fast.avi", rate=25)
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "cut.avi").write_bytes((tmp_path / "good.avi").read_bytes()[:300])
    (tmp_path / "there.mp4").write_bytes(b"x")
    output = tmp_path / "out.mp4"
    cases = [
        ((str(tmp_path / "none.mp4"), good, output), "is not there"),
        ((good, str(tmp_path / "text.mp4"), output), "cannot be decoded"),
        ((good, str(tmp_path / "cut.avi"), output), "cut.avi"),
        ((good, other_rate, output), "frames a second"),
        ((good, good, good), "would be overwritten"),
        ((good, good, tmp_path / "out.gif"), "ends in one of"),
        ((good, good, tmp_path / "there.mp4"), "is there already"),
        ((good, good, tmp_path / "good.avi" / "x.mp4"), "cannot be written"),
    ]
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, words in cases:
        with pytest.raises(UserError, match=words) as error:
            fuse_videos(fuser, *arguments)
        assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "there.mp4").read_bytes() == b"x"


def test_a_frame_is_made_with_the_running_mean_of_those_before(fuser):
    """What that does to flicker depends on the weights."""
    rng = np.random.default_rng(0)
    visible, infrared = rng.integers(0, 255, (32, 32, 3), np.uint8), rng.integers(0, 255, (32, 32), np.uint8)
    steady, mean = SteadyFuser(fuser, 0.75), None
    for brightness in (1.0, 0.9, 0.8, 0.95):
        pair = ((visible * brightness).astype(np.uint8), infrared)
        expected, own = fuser.predictor.with_statistics(*(x[None] for x in pair), mean, record=True)
        mean = own if mean is None else jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, mean, own)
        found = steady(*pair)
        np.testing.assert_allclose(found["haze_density"], expected["haze_density"][0], rtol=1e-5)
        np.testing.assert_allclose(found["fused"].astype(float), expected["fused"][0], atol=1.01)  # of 255
