"""Where live pictures go: recordings that are whole, names that are free, a stream that lets clients go, no window."""

import socket
import types

import cv2
import numpy as np
import pytest

from iassf_jax.errors import UserError
from iassf_jax.live.outputs import Recording, WebStream, open_output
from iassf_jax.live.show import Show
from live.test_live import SIZE, free_port


def test_nothing_kept_within_one_second_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda form: form.replace("%Y%m%d-%H%M%S", "now"))
    show = Show(None, None, folder=tmp_path)
    show.live = types.SimpleNamespace(strengths=None)
    for level in (10, 20, 30):
        show.press("s", np.full((*SIZE, 3), level, np.uint8))
        show.press("r")
        show._recording.show(np.full((*SIZE, 3), level, np.uint8), 0.0)
        show.press("r")
    for kind, suffix in (("still", ".png"), ("recording", ".mp4")):
        names = [f"{kind}-now{more}{suffix}" for more in ("", "-2", "-3")]
        assert sorted(path.name for path in tmp_path.glob(f"{kind}*")) == sorted(names)
    assert cv2.imread(str(tmp_path / "still-now.png")).mean() == 10


def test_a_recording_keeps_time(tmp_path):
    recording = Recording(tmp_path / "o.avi")
    for moment in (100.0, 100.05, 101.0):
        recording.show(np.full((33, 47, 3), 90, np.uint8), moment)
    assert not (tmp_path / "o.avi").exists()
    recording.close()
    assert cv2.VideoCapture(str(tmp_path / "o.avi")).get(cv2.CAP_PROP_FRAME_COUNT) == 11


def test_a_recording_that_the_disk_cuts_replaces_nothing(tmp_path, monkeypatch):
    full = types.SimpleNamespace(write=lambda frame: None, release=lambda: None)
    monkeypatch.setattr("iassf_jax.fuse.video_files.writer", lambda *_: full)
    (tmp_path / "o.mp4").write_bytes(b"good")
    recording = Recording(tmp_path / "o.mp4", overwrite=True)
    recording.show(np.full((32, 48, 3), 90, np.uint8), 0.0)
    with pytest.raises(UserError, match="could not be written in full: free space"):
        recording.close()
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"] and (tmp_path / "o.mp4").read_bytes() == b"good"


def test_a_client_that_asks_nothing_is_let_go(monkeypatch):
    monkeypatch.setattr("iassf_jax.live.outputs._SILENCE", 0.2)
    port = free_port()
    stream = WebStream(f"http://127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=15) as client:
        assert client.recv(1) == b""
    stream.close()


def test_a_window_needs_a_screen(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="screen"):
        open_output("window")
