"""Two sources fused as their frames come: pairs by time, what breaks off and comes back, 16 bits, pipes, keys."""

import os
import re
import runpy
import socket
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

import iassf_jax
import tiny
from fuse.test_video_inputs import turned, write
from iassf_jax.align import warps
from iassf_jax.align.placing import Placing
from iassf_jax.align.rig import Rig
from iassf_jax.cli.main import main
from iassf_jax.errors import UserError
from iassf_jax.fuse.fuser import Fuser
from iassf_jax.live.cameras import Begin, Camera
from iassf_jax.live.outputs import WebStream
from iassf_jax.live.show import Show
from iassf_jax.live.views import VIEWS, render
from stub_fuser import StubFuser

ROOT = Path(__file__).parents[2]
SIZE = (32, 48)


@pytest.fixture(scope="module")
def fuser():
    return Fuser(tiny.weights())


@pytest.fixture
def pipe(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def film(path, count, rate, step=5):
    """Frame i is grey of level `step` i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, SIZE[::-1])
    for i in range(count):
        writer.write(np.full((*SIZE, 3), step * i, np.uint8))
    writer.release()
    return str(path)


def raw_film(path, count, codec="FFV1"):
    """14 bits of 16, as thermal cameras give them."""
    settings = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 10, SIZE[::-1], settings)
    for _ in range(count):
        writer.write((7000 + np.arange(SIZE[0] * SIZE[1]).reshape(SIZE)).astype(np.uint16))
    writer.release()
    return str(path)


def free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def started(source, **options):
    begin = Begin()
    begin.set()
    return Camera(source, threading.Condition(), begin, **options)


def wait_for(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_pairs_of_uneven_rates_are_matched_by_time(fuser, tmp_path):
    """Both films brighten by 60 levels a second."""
    visible, infrared = film(tmp_path / "v.avi", 20, 20, 3), film(tmp_path / "i.avi", 8, 8, 7.5)
    frames = list(iassf_jax.live(visible, infrared, fuser=fuser, smoothing_seconds=0))
    assert 3 <= len(frames) <= 21
    for frame in frames[1:]:
        assert abs(float(frame.visible.mean()) - float(frame.infrared.mean())) < 60 * 0.15 + 4
        assert frame.fused.shape == (*SIZE, 3) and not frame.stale
    assert [frame.time for frame in frames] == sorted(frame.time for frame in frames)


def test_the_delay_is_that_of_the_infrared_frame(fuser, tmp_path):
    visible, infrared = film(tmp_path / "v.avi", 40, 20, 3), film(tmp_path / "i.avi", 40, 20, 3)
    frames = list(iassf_jax.live(visible, infrared, fuser=fuser, infrared_delay=0.5))[-5:]
    assert len(frames) == 5
    for frame in frames:
        assert float(frame.infrared.mean()) - float(frame.visible.mean()) == pytest.approx(30, abs=12)


def test_swapped_sources_are_told(fuser, tmp_path):
    colours = cv2.VideoWriter(str(tmp_path / "c.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, SIZE[::-1])
    for _ in range(4):
        colours.write(np.full((*SIZE, 3), (30, 60, 200), np.uint8))
    colours.release()
    with pytest.warns(UserWarning, match="visible image is grey and the infrared one has colours"):
        list(iassf_jax.live(film(tmp_path / "v.avi", 4, 20), str(tmp_path / "c.avi"), fuser=fuser))


def test_tagged_files_are_turned_where_both_agree(tmp_path):
    frame = np.full((*SIZE, 3), 90, np.uint8)
    visible, infrared = (write(tmp_path / name, [frame] * 4, "mp4v") for name in ("v.mp4", "i.mp4"))
    turned(tmp_path / "v.mp4", 90)
    with pytest.warns(UserWarning, match="say differently") as said:
        shown = next(iter(iassf_jax.live(visible, infrared, fuser=StubFuser())))
    assert shown.fused.shape == (*SIZE, 3) and not any("--" in str(w.message) for w in said)
    turned(tmp_path / "i.mp4", 90)
    with pytest.warns(UserWarning, match="turned upright"):
        shown = next(iter(iassf_jax.live(visible, infrared, fuser=StubFuser())))
    assert shown.visible.shape == (*SIZE[::-1], 3) and shown.infrared.shape == SIZE[::-1]


def test_recordings_hold_no_numbers(fuser, tmp_path):
    film(tmp_path / "v.avi", 4, 20, 0)
    frame = next(iter(iassf_jax.live(tmp_path / "v.avi", tmp_path / "v.avi", fuser=fuser)))
    assert (render(frame, "fused") == frame.fused).all() and (render(frame, "fused", "") != frame.fused).any()


def test_a_slow_reader_sees_new_frames(fuser, tmp_path):
    visible, infrared = film(tmp_path / "v.avi", 60, 40, 4), film(tmp_path / "i.avi", 60, 40, 4)
    frames = []
    for frame in iassf_jax.live(visible, infrared, fuser=fuser):
        frames.append(frame)
        time.sleep(0.3)
    assert frames[-1].dropped > 20
    levels = [float(frame.visible.mean()) for frame in frames]  # 160 a second
    for frame, level in zip(frames[1:], levels[1:], strict=True):
        assert level == pytest.approx(4 * round((frame.time - frames[1].time) * 40) + levels[1], abs=6)


def test_a_source_that_breaks_off_comes_back(fuser, tmp_path):
    port = free_port()
    picture = np.full((*SIZE, 3), 120, np.uint8)
    stop, server = threading.Event(), [WebStream(f"http://127.0.0.1:{port}")]

    def feed():
        while not stop.is_set():
            for stream in list(server):
                stream.show(picture, 0)
            time.sleep(0.03)

    threading.Thread(target=feed, daemon=True).start()
    states = []
    address = f"http://127.0.0.1:{port}/a.mjpg"
    with iassf_jax.live(address, address, fuser=fuser) as live:
        end = time.monotonic() + 60
        for frame in live:
            assert time.monotonic() < end, states
            if not states or states[-1] != frame.stale:
                states.append(frame.stale)
                if len(states) == 1:
                    server.pop().close()
                elif len(states) == 2:
                    assert "broke off" in frame.message
                    marked = render(frame, "fused")
                    assert (marked[0, :, 0] > 200).all()
                    server.append(WebStream(f"http://127.0.0.1:{port}"))
                else:
                    assert frame.rate == 0  # the outage is no time between two results
                    break
    stop.set()
    server.pop().close()
    assert states == [False, True, False]


class Faulty:
    """Stands for a camera's reader: two frames, then an error."""

    def __init__(self):
        self.left = 2
        self.get, self.set, self.release = (lambda *_: 0.0), (lambda *_: True), (lambda: None)

    def read(self):
        self.left -= 1
        if self.left < 0:
            raise cv2.error("a driver's\nfault")
        return True, np.zeros((*SIZE, 3), np.uint8)


def test_an_unexpected_error_is_told_and_the_source_is_opened_again(tmp_path, monkeypatch):
    monkeypatch.setattr("iassf_jax.live.cameras._opened", lambda *_: Faulty())
    camera = started(0)
    wait_for(lambda: camera.state == "lost" and camera.newest().number >= 4)
    assert camera.problem == "0: error: a driver's fault"
    camera.close()
    (tmp_path / "v.avi").write_bytes(b"")
    camera = started(str(tmp_path / "v.avi"))
    wait_for(lambda: camera.state == "failed")
    assert "a driver's fault" in camera.problem  # a file is not played again from its beginning


def test_no_message_has_a_password():
    for source in (f"http://user:secret@127.0.0.1:{free_port()}/a.mjpg", "srt://user:secret@cam"):
        try:
            camera = started(source)
            wait_for(lambda: camera.state == "failed")  # noqa: B023
            said = camera.problem + camera._thread.name
        except UserError as error:
            said = str(error)
        assert "secret" not in said and source[-3:] in said


def test_a_pipe_is_a_camera(tmp_path, pipe):
    data = Path(film(tmp_path / "v.avi", 12, 10)).read_bytes()
    camera = started(str(pipe))
    for expected in (1, 13):  # it is opened again
        writer = threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True)
        writer.start()
        wait_for(lambda: (frame := camera.newest()) and frame.number >= expected and camera.state == "lost")  # noqa: B023
        writer.join(5)
    assert camera.newest().number == 24 and camera.newest().image.shape == (*SIZE, 3)
    camera.close()


def test_a_pipe_without_a_writer_is_told_once(tmp_path, pipe, monkeypatch):
    monkeypatch.setattr("iassf_jax.live.loop._UNEXPLAINED", 0.1)
    monkeypatch.setattr("iassf_jax.live.loop._STALE_AFTER", 0.1)
    live = iassf_jax.live(str(pipe), film(tmp_path / "i.avi", 4, 20), fuser=StubFuser())
    wait_for(lambda: live._cameras[1].newest())
    threading.Timer(1.5, live.close).start()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert list(live) == []
    assert [str(w.message) for w in said] == [f"waiting for {pipe}"]


def test_a_pipe_that_is_waited_for_holds_no_other_source_up(tmp_path, pipe):
    """OpenCV opens one video at a time, and would wait for a pipe's writer, then for what it writes."""
    data = Path(film(tmp_path / "v.avi", 6, 10)).read_bytes()
    waiting = started(str(pipe))
    time.sleep(0.5)
    other = started(film(tmp_path / "other.avi", 3, 10))
    wait_for(lambda: other.state == "ended")
    with pipe.open("wb") as to:
        time.sleep(0.5)
        third = started(str(tmp_path / "other.avi"))
        wait_for(lambda: third.state == "ended")
        to.write(data)
    wait_for(lambda: waiting.newest() and waiting.newest().number == 6)
    waiting.close()


def test_closing_from_another_thread_ends_the_loop_at_once(monkeypatch):
    """Of sources that are being opened, which do not wake the loop."""
    opened = threading.Event()

    def wait(*_):
        opened.wait(60)

    monkeypatch.setattr("iassf_jax.live.cameras._opened", wait)
    monkeypatch.setattr("iassf_jax.live.loop._STALE_AFTER", 60)
    live = iassf_jax.live(0, 1, fuser=StubFuser())
    loop = threading.Thread(target=lambda: list(live), daemon=True)
    loop.start()
    time.sleep(0.5)
    live.close()
    loop.join(10)
    ended = not loop.is_alive()
    opened.set()
    assert ended


@pytest.mark.parametrize("codec", ["FFV1", "MPNG"])
def test_thermal_data_of_16_bits_stay_and_are_stretched(fuser, tmp_path, codec):
    infrared, visible = raw_film(tmp_path / "i.mkv", 5, codec), film(tmp_path / "v.avi", 5, 10)
    camera = started(infrared, grey=True)
    wait_for(lambda: camera.newest() is not None)
    image = camera.newest().image
    assert image.dtype == np.uint16 and image.min() == 7000 and image.shape == SIZE
    camera.close()
    frame = next(iter(iassf_jax.live(visible, infrared, fuser=fuser)))
    assert frame.infrared.min() == 0 and frame.infrared.max() == 1


def test_a_rig_places_the_infrared_frames(fuser, tmp_path):
    visible, infrared = film(tmp_path / "v.avi", 3, 10, 50), film(tmp_path / "i.avi", 3, 10, 50)
    rig = Rig(np.array([[1, 0, -16.0], [0, 1, 0], [0, 0, 1]]), SIZE[::-1], SIZE[::-1])
    frame = next(iter(iassf_jax.live(visible, infrared, fuser=fuser, placing=Placing(rig, crop_to_overlap=True))))
    assert frame.fused.shape == (32, 32, 3)


def test_the_command_records_and_tells_what_is_wrong(tmp_path, capsys):
    visible, infrared = film(tmp_path / "v.avi", 4, 10, 40), film(tmp_path / "i.avi", 4, 10, 40)
    (tmp_path / "text.mp4").write_text("hello")
    cases = [
        (["--visible", str(tmp_path / "none.mp4"), "--infrared", infrared], "is not there"),
        (["--visible", str(tmp_path / "text.mp4"), "--infrared", infrared], "gives no frame"),
        (["--visible", visible, "--infrared", infrared, "--output", "o.gif"], "ends in one of"),
        (["--visible", visible, "--infrared", infrared, "--output", "rtsp://x"], "http"),
        (["--visible", visible, "--infrared", infrared, "--output", "http://[::1"], "no good host or port"),
        (["--visible", visible, "--infrared", infrared, "--output", visible, "--overwrite"], "is an input"),
        (["--visible", visible, "--infrared", "srt://x:9000"], "is not there"),  # OpenCV's wheels do not speak it
        (["--visible", visible, "--infrared", infrared, "--infrared-delay", "nan"], "infrared_delay"),
        (["--visible", visible, "--infrared", infrared, "--crop-to-overlap"], "--rig"),
    ]
    for arguments, words in cases:
        where = [] if "--output" in arguments else ["--output", str(tmp_path / "o.avi")]
        with pytest.raises(SystemExit) as leave:
            main(["live", *arguments, *where])
        assert words in leave.value.code and "\n" not in leave.value.code
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "o.avi").exists()


def test_keys_change_what_is_shown_and_kept(fuser, tmp_path):
    class Keyboard:
        def __init__(self, keys):
            self.keys, self.pictures = list(keys), []

        def show(self, picture, seconds):
            self.pictures.append(picture)
            return self.keys.pop(0) if self.keys else "q"

        def close(self):
            pass

    visible, infrared = film(tmp_path / "v.avi", 60, 30, 4), film(tmp_path / "i.avi", 60, 30, 4)
    keyboard = Keyboard("hiirvvvsr")
    show = Show(iassf_jax.live(visible, infrared, fuser=fuser), keyboard, folder=tmp_path)
    show.run()
    assert (show.live.strengths.dehaze, show.live.strengths.infrared) == (0.9, 0.8)
    assert show.view == VIEWS[3] and keyboard.pictures[-1].shape == (32, 96, 3)
    assert len(list(tmp_path.glob("still-*.png"))) == 1 and len(list(tmp_path.glob("recording-*.mp4"))) == 1
    assert not list(tmp_path.glob(".*"))


def module(name, **names):
    found = types.ModuleType(name)
    found.__dict__.update(names)
    return found


def test_the_snippet_and_the_node_of_live_md_run_where_cameras_and_ros_are_stubs(fuser, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Rig(warps.shift(0, 0), SIZE[::-1], SIZE[::-1]).write(tmp_path / "rig.json")
    films = film(tmp_path / "v.avi", 6, 20), film(tmp_path / "i.avi", 6, 20)
    real, shown, published = iassf_jax.live, [], []
    monkeypatch.setattr(iassf_jax, "live", lambda a, b, placing: real(*films, placing=placing, fuser=fuser))
    monkeypatch.setattr(iassf_jax, "load", lambda: fuser, raising=False)
    picture = types.SimpleNamespace(header="now")

    class Node:
        def __init__(self, name):
            pass

        def create_publisher(self, kind, topic, depth):
            return types.SimpleNamespace(publish=published.append)

    class CvBridge:
        def imgmsg_to_cv2(self, message, kind="mono8"):
            return np.full((*SIZE, 3) if kind == "rgb8" else SIZE, 90, np.uint8)

        def cv2_to_imgmsg(self, image, kind):
            return types.SimpleNamespace(image=image)

    follow = types.SimpleNamespace(registerCallback=lambda callback: callback(picture, picture))
    stubs = [
        module("message_filters", Subscriber=lambda *_: None, ApproximateTimeSynchronizer=lambda *_, **__: follow),
        module("rclpy", init=lambda: None, spin=lambda node: None),
        module("rclpy.node", Node=Node),
        module("cv_bridge", CvBridge=CvBridge),
        module("sensor_msgs"),
        module("sensor_msgs.msg", Image=object),
    ]
    for stub in stubs:
        monkeypatch.setitem(sys.modules, stub.__name__, stub)
    text = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    exec(snippet, {"show": shown.append})
    assert shown and shown[0].shape == (*SIZE, 3) and "a second" in capsys.readouterr().out
    runpy.run_path(str(ROOT / "examples" / "ros2_node.py"), run_name="__main__")
    assert published[0].image.shape == (*SIZE, 3) and published[0].header == "now"
