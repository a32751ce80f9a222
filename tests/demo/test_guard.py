"""Who may ask the page, and what stays of uploads. Needs no Gradio, but for the last test."""

import asyncio
import http.client
import importlib.util
import os
import socket

import numpy as np
import pytest

from iassf_jax.data import images
from iassf_jax.demo import page as demo
from iassf_jax.demo.guard import Guard, Uploads
from iassf_jax.demo.session import Session
from iassf_jax.files import write_bytes
from iassf_jax.fuse import fuser


def asked(guard, headers, method="GET", path="/", kind="http"):
    """The status of one request; 200 where the page itself was asked."""
    sent = []

    async def send(message):
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "method": method, "path": path, "headers": raw}
    asyncio.run(guard(scope, None, send))
    return sent[0].get("status", sent[0].get("code"))


@pytest.fixture
def guard(tmp_path):
    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    return Guard(page, "127.0.0.1", ["fog.example"], Uploads(tmp_path, 1000), 800)


@pytest.mark.parametrize(
    "host, status",
    [
        *((host, 200) for host in ("127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "192.168.1.5:1")),
        *((host, 200) for host in ("fog.example", "FOG.example:80", "fog.example.:7860")),
        *((host, 421) for host in ("evil.example:7860", "", "127.0.0.1.evil.example", "[::1", "a@b")),
    ],
)
def test_only_its_own_names(guard, host, status):
    assert asked(guard, {"host": host}) == status
    assert asked(guard, {"host": host}, kind="websocket") == (200 if status == 200 else 1008)


@pytest.mark.parametrize(
    "origin, status",
    [
        *((origin, 200) for origin in ("http://127.0.0.1:7860", "https://fog.example", "https://127.0.0.1:7860")),
        *(
            (origin, 403)
            for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://[", "", "file://")
        ),
    ],
)
def test_only_its_own_origin(guard, origin, status):
    for method in ("GET", "POST"):
        assert asked(guard, {"host": "127.0.0.1:7860", "origin": origin}, method) == status


def test_long_requests(guard):
    host = {"host": "localhost"}
    assert asked(guard, {**host, "content-length": "800"}, "POST", "/gradio_api/upload") == 200
    assert asked(guard, {**host, "content-length": "801"}, "POST", "/gradio_api/upload") == 413
    assert asked(guard, host, "POST", "/gradio_api/upload") == 411
    assert asked(guard, {**host, "content-length": "-5"}, "POST", "/gradio_api/upload") == 411
    assert asked(guard, {**host, "transfer-encoding": "chunked"}, "POST", "/gradio_api/queue/join") == 411
    assert asked(guard, {**host, "content-length": str(2**20 + 1)}, "POST", "/gradio_api/queue/join") == 413
    assert asked(guard, {**host, "content-length": "2000"}, "POST", "/gradio_api/queue/join") == 200


def test_uploads_keep_their_limit_and_the_newest(tmp_path):
    uploads = Uploads(tmp_path, 1000)
    for i in range(20):
        assert uploads.expect(300)
        path = tmp_path / str(i) / "image.png"
        path.parent.mkdir()
        path.write_bytes(bytes(300))
        os.utime(path, ns=(i, i))
        uploads.arrived(300)
        there = sorted(int(path.parent.name) for path in tmp_path.rglob("*.png"))
        assert there == list(range(max(0, i - 2), i + 1))


def test_uploads_that_are_on_their_way_count(tmp_path):
    uploads = Uploads(tmp_path, 1000)
    assert uploads.expect(600) and not uploads.expect(600)
    uploads.arrived(600)
    assert uploads.expect(600)


def test_an_upload_that_breaks_off_leaves_its_room(tmp_path):
    async def page(scope, receive, send):
        raise OSError("the client is gone")

    guard = Guard(page, "127.0.0.1", [], Uploads(tmp_path, 1000), 800)
    for _ in range(5):
        with pytest.raises(OSError, match="gone"):
            asked(guard, {"host": "localhost", "content-length": "700"}, "POST", "/upload")


def test_copies_that_pages_show_are_swept_with_each_job(tmp_path, monkeypatch):
    monkeypatch.setattr(fuser, "load", lambda weights: None)
    (tmp_path / "jobs").mkdir()
    session = Session(tmp_path / "jobs", max_pixels=1000)
    session.uploads.limit = 5000
    images.write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    for i in range(9):
        write_bytes(tmp_path / "page" / f"{i}.png", bytes(1000))
        session.preview(str(tmp_path / "a.png"), None)
    assert len(list((tmp_path / "page").iterdir())) == 5


@pytest.mark.slow
def test_the_server_has_the_guard(tmp_path, monkeypatch):
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs Gradio: pip install 'iassf-jax[demo]'")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "page"))
    monkeypatch.setattr(fuser, "load", lambda weights: None)
    (tmp_path / "jobs").mkdir()
    session = Session(tmp_path / "jobs", max_pixels=1000)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gradio = demo._gradio()
    page = demo.build(gradio, session, [])
    demo._launch(gradio, page, session, "127.0.0.1", port, ["fog.example"])
    try:
        own = {"Host": f"127.0.0.1:{port}"}
        long = str(session.max_bytes * 3)
        cases = [
            ("GET", "/", own, 200),
            ("GET", "/", {"Host": "fog.example"}, 200),
            ("GET", "/", {"Host": "evil.example"}, 421),
            ("POST", "/gradio_api/upload", {**own, "Origin": "https://evil.example", "Content-Length": "0"}, 403),
            ("POST", "/gradio_api/upload", {**own, "Content-Length": long}, 413),
        ]
        for method, path, headers, status in cases:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.putrequest(method, path, skip_host=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            assert connection.getresponse().status == status, (method, path, headers)
            connection.close()
    finally:
        page.close(verbose=False)
