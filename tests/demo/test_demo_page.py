"""`iassf-jax demo` from end to end: the real server, the shipped weights, a headless Chromium.

Needs Gradio, Playwright and a Chromium; without them it is skipped. Neither page nor server may call another host.
"""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from iassf_jax.data import images
from iassf_jax.demo.session import EXAMPLE_SIZE

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = EXAMPLE_SIZE
STARTING, RUNNING = 180, 240_000  # seconds, milliseconds; most of it is compiling
MAX_PIXELS = 200_000
LOCAL = "127.0.0.1"
ROOT = Path(__file__).parents[2]
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
# Every address that the server connects to or looks up, one a line.
HOOK = """
import os, sys

def note(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        address = args[0] if event.startswith("socket.get") else args[1]
        with open(os.environ["CALLS"], "a") as file:
            print(address[0] if isinstance(address, tuple) else address, file=file)

sys.addaudithook(note)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Address of a running page; when it has ended, checks that it has called nobody and left nothing."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs Gradio: pip install 'iassf-jax[demo]'")
    _chromium()
    folder = tmp_path_factory.mktemp("server")
    (folder / "sitecustomize.py").write_text(HOOK)
    (folder / "tmp").mkdir()
    (calls := folder / "calls").touch()
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "CALLS": str(calls),
        "TMPDIR": str(folder / "tmp"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"),
        "HTTP_PROXY": "http://192.0.2.1:9",  # where somebody has set a proxy, the page starts all the same
    }
    with socket.create_server((LOCAL, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "iassf_jax", "demo", "--port", str(port), "--max-pixels", str(MAX_PIXELS)]
    with (
        open(folder / "errors", "w+") as errors,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True) as server,
    ):
        timer = threading.Timer(STARTING, server.kill)
        timer.start()
        line = server.stdout.readline()
        timer.cancel()
        try:
            assert f"http://{LOCAL}:{port}" in line, (folder / "errors").read_text()
            yield f"http://{LOCAL}:{port}/"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    assert "Traceback" not in (folder / "errors").read_text()
    assert not list((folder / "tmp").glob("iassf-demo*"))
    called = set(calls.read_text().split())
    assert LOCAL in called  # the hook works: Gradio asks itself whether it is there
    assert called <= {LOCAL, "localhost"}


def _chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(CHROMIUMS)} is installed")
    return sync_api, path


@pytest.fixture(scope="module")
def browser():
    sync_api, path = _chromium()
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOCAL}"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(url, browser):
    """The page in a new window; afterwards checks that no request went to another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(RUNNING)
    asked, failed = [], []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: failed.append(error))
    page.goto(url)
    page.wait_for_selector("#examples .thumbnail-item img")
    page.wait_for_load_state("networkidle")
    yield page
    context.close()
    hosts = {urlsplit(address).hostname for address in asked if not address.startswith(("data:", "blob:"))}
    assert hosts == {LOCAL} and not failed


def pick_example(page, index):
    page.locator("#examples .thumbnail-item").nth(index).click()
    wait_for_image(page, "#hazy img")
    wait_for_image(page, "#infrared img")


def upload(page, side, path):
    if (clear := page.locator(f"#upload-{side} button[aria-label=Clear]")).count():
        clear.click()
    page.locator(f"#upload-{side} input[type=file]").set_input_files(path)
    page.get_by_text(path.suffix).last.wait_for()


def wait_for_image(page, selector, size=(WIDTH, HEIGHT)):
    page.wait_for_function(
        "([selector, width, height]) => [...document.querySelectorAll(selector)].some("
        "x => x.complete && x.naturalWidth == width && x.naturalHeight == height)",
        arg=[selector, *size],
    )


def run(page, outcome="done"):
    """Runs what is chosen; what the page says then."""
    page.evaluate("document.querySelectorAll('#status [class^=iassf]').forEach(x => x.setAttribute('data-old', ''))")
    page.wait_for_timeout(500)  # a ticked box is passed on after it is drawn
    page.click("#run")
    other = "error" if outcome == "done" else "done"  # the same error twice is drawn once
    told = page.wait_for_selector(f"#status .iassf-{outcome}, #status .iassf-{other}:not([data-old])")
    assert told.get_attribute("class") == f"iassf-{outcome}", page.inner_text("#status")
    return page.inner_text("#status")


def download(page, name):
    with page.expect_download() as waiting:
        page.click(f"#download-{name}")
    data = np.frombuffer(waiting.value.path().read_bytes(), np.uint8)
    assert waiting.value.suggested_filename.endswith(".png")
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def test_an_example_is_dehazed_and_fused(page, tmp_path):
    pick_example(page, 0)
    status = run(page)
    assert re.match(rf"\d+\.\d s for {WIDTH} x {HEIGHT} pixels, after \d+\.\d s of compiling", status)
    for name in ("hazy", "infrared", "haze-density", "dehazed", "fused"):
        wait_for_image(page, f"#{name} img")
    for name in ("dehazed", "fused"):
        page.get_by_role("tab", name=f"Hazy | {name}").click()
        wait_for_image(page, f"#slider-{name} img")
        assert page.locator(f"#slider-{name} img").count() == 2
    assert page.locator("#prompts tbody tr").count() == 5
    fused, dehazed, density = (download(page, name) for name in ("fused", "dehazed", "haze-density"))
    assert fused.shape == dehazed.shape == (HEIGHT, WIDTH, 3) and (fused != dehazed).any()
    assert density.shape == (HEIGHT, WIDTH) and density.std() > 1
    page.get_by_role("tab", name="Hazy | dehazed").click()
    page.mouse.move(0, 0)
    page.screenshot(path=tmp_path / "demo.png", full_page=True)  # as in docs/images


def test_an_uploaded_pair_with_options(page, tmp_path):
    rng = np.random.default_rng(0)
    images.write_image(tmp_path / "mine.tif", rng.integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16))
    images.write_image(tmp_path / "raw.png", rng.integers(2000, 3000, (HEIGHT // 2, WIDTH // 2), np.uint16))
    upload(page, "visible", tmp_path / "mine.tif")
    wait_for_image(page, "#hazy img")
    upload(page, "infrared", tmp_path / "raw.png")
    wait_for_image(page, "#infrared img", (WIDTH // 2, HEIGHT // 2))
    assert run(page, "error") == f"infrared is {WIDTH // 2} x {HEIGHT // 2}, visible {WIDTH} x {HEIGHT}: " + (
        "align them, or resize the infrared image"
    )
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Resize the infrared image").check()
    page.get_by_label("Stretch the infrared image").check()
    assert f"s for {WIDTH} x {HEIGHT} pixels" in run(page)
    wait_for_image(page, "#fused img")
    wait_for_image(page, "#infrared img")


def test_bad_uploads_are_told_and_the_page_goes_on(page, tmp_path):
    pick_example(page, 1)
    (tmp_path / "words.png").write_text("no image")
    upload(page, "visible", tmp_path / "words.png")
    error = page.locator("#status .iassf-error")
    error.wait_for()
    assert error.inner_text().startswith("words.png: is not a PNG") and "\n" not in error.inner_text()
    assert "words.png" in run(page, "error")
    whole = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))[1].tobytes()
    (tmp_path / "cut.png").write_bytes(whole[:2000])
    upload(page, "visible", tmp_path / "cut.png")
    page.get_by_text("cut.png: is truncated").wait_for()
    images.write_image(tmp_path / "large.png", np.zeros((MAX_PIXELS // 100, 101), np.uint8))
    upload(page, "visible", tmp_path / "large.png")
    page.get_by_text("more than the 200,000 pixels").wait_for()
    (tmp_path / "heavy.png").write_bytes(bytes(8 * MAX_PIXELS + 2**20 + 1))
    upload(page, "visible", tmp_path / "heavy.png")
    page.get_by_text("exceed the maximum allowed size").wait_for()
    pick_example(page, 2)
    run(page)
    wait_for_image(page, "#fused img")


@pytest.mark.parametrize("width", [480, 1280])
def test_nothing_sticks_out(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    pick_example(page, 3)
    run(page)
    wait_for_image(page, "#slider-dehazed img")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
