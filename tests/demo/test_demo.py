"""The web page's work, without the page: limits, messages, files, examples. Needs no Gradio."""

import os
import socket
import sys
import time
import types

import cv2
import numpy as np
import pytest

from data.test_orientation import with_exif
from iassf_jax.align import warps
from iassf_jax.align.rig import Rig
from iassf_jax.cli.main import main
from iassf_jax.data import images
from iassf_jax.data.orientation import upright
from iassf_jax.demo import page as demo
from iassf_jax.demo import session as demo_session
from iassf_jax.demo.session import Options, Session
from iassf_jax.errors import UserError
from iassf_jax.fuse import fuser
from iassf_jax.fuse.strengths import Strengths
from iassf_jax.weights import shipped
from image_files import save


class Network:
    """Stands for a Fuser: dehazed is the visible image mirrored, fused the infrared one in three channels."""

    def __init__(self, density=True):
        self.density, self.seen = density, []

    def fuse_prepared(self, pair, strengths):
        visible, infrared, border = pair
        self.seen.append((visible, infrared))
        self.strengths = strengths
        grey = images.to_8_bits(np.rint(65535 * images.to_float(infrared)).astype(np.uint16))
        density = np.linspace(0, 1, grey.size, dtype=np.float32).reshape(grey.shape) if self.density else None
        weights = {"vi": np.float32([0.25, 0.75]), "ir": np.float32([0.5, 0.5])} if self.density else {}
        out = {"dehazed": images.to_8_bits(visible)[:, ::-1], "fused": np.repeat(grey[..., None], 3, 2)}
        out = fuser.without_border(out, border)
        return fuser.Result(out["fused"], out["dehazed"], density, weights)


@pytest.fixture
def network(monkeypatch):
    network = Network()
    monkeypatch.setattr(fuser, "load", lambda weights: network)
    return network


@pytest.fixture
def session(network, tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    return Session(folder, max_pixels=10_000)


@pytest.fixture
def pair(tmp_path):
    rng = np.random.default_rng(0)
    paths = tmp_path / "visible.png", tmp_path / "infrared.png"
    images.write_image(paths[0], rng.integers(0, 256, (40, 56, 3), np.uint8))
    images.write_image(paths[1], rng.integers(0, 256, (40, 56), np.uint8))
    return tuple(map(str, paths))


def test_a_pair_becomes_files_and_a_line(session, pair):
    job = session.run(*pair)
    visible, infrared = images.read_image(pair[0]), images.read_image(pair[1])
    assert (images.read_image(job.hazy) == visible).all() and (images.read_image(job.infrared) == infrared).all()
    assert (images.read_image(job.dehazed) == visible[:, ::-1]).all()
    assert (images.read_image(job.fused) == infrared[..., None]).all()
    density = images.read_image(job.density)
    assert density.dtype == np.uint8 and density.shape == (40, 56) and (density[0, 0], density[-1, -1]) == (0, 255)
    assert images.read_image(job.density_map).shape == (40, 56, 3)
    assert job.message.endswith("s for 56 x 40 pixels") and job.notes == ()


def test_a_network_without_density_or_prompts(network, session, pair):
    network.density = False
    job = session.run(*pair)
    assert job.density is None and job.density_map is None and job.fused.exists()
    assert "no learned prompts" in demo_session.prompt_weights_html(job.prompt_weights)


def test_options_reach_the_network(network, session, pair, tmp_path):
    raw = tmp_path / "raw.png"
    images.write_image(raw, np.linspace(2000, 3000, 20 * 28).reshape(20, 28).astype(np.uint16))
    job = session.run(pair[0], str(raw), Options(stretch=True, low=0, high=100, resize_infrared=True))
    _, infrared = network.seen[-1]
    assert infrared.shape == (40, 56) and infrared.min() == 0 and infrared.max() == 1
    shown = images.read_image(job.infrared)
    assert shown.min() == 0 and shown.max() == 255 and job.notes == ()


def test_strengths_reach_the_network(network, session, pair):
    session.run(*pair)
    assert network.strengths == Strengths()
    session.run(*pair, Options(dehaze_strength=0.5, infrared_strength=0.25, t0=0.05))
    assert network.strengths == Strengths(0.5, 0.25, 0.05)
    with pytest.raises(UserError, match="t0 is -1: use"):
        session.run(*pair, Options(t0=-1))


def test_a_pair_the_wrong_way_round_is_told(session, pair):
    with pytest.raises(UserError, match="swap them"):
        session.run(pair[1], pair[0])


def test_a_rig_places_the_infrared_image(network, session, pair, tmp_path):
    Rig(warps.shift(-28, 0), (56, 40), (28, 40)).write(tmp_path / "rig.json")
    half = tmp_path / "half.png"
    images.write_image(half, images.read_image(pair[1])[:, 28:])
    job = session.run(pair[0], str(half), Options(rig=str(tmp_path / "rig.json")))
    assert (network.seen[-1][1][:, 28:] == images.read_image(pair[1])[:, 28:]).all()
    fused, dehazed = images.read_image(job.fused), images.read_image(job.dehazed)
    assert (fused[:, :28] == dehazed[:, :28]).all() and (fused[:, 40:] != dehazed[:, 40:]).any()
    with pytest.raises(UserError, match="^visible.png: is no rig file"):
        session.run(*pair, Options(rig=pair[0]))


def test_raw_thermal_data_gets_a_note(session, pair, tmp_path):
    raw = tmp_path / "raw.png"
    images.write_image(raw, 3000 + np.arange(40 * 56, dtype=np.uint16).reshape(40, 56))
    (note,) = session.run(pair[0], str(raw)).notes
    assert "raw thermal data" in note and "--" not in note


def test_a_tagged_pair_is_turned_as_fuse_turns_it(session, pair, tmp_path):
    visible, infrared = images.read_image(pair[0]), images.read_image(pair[1])
    paths = str(tmp_path / "v.png"), str(tmp_path / "i.png")
    save(tmp_path / "v.png", with_exif(".png", 6, image=visible[..., ::-1]))
    save(tmp_path / "i.png", with_exif(".png", 6, image=infrared))
    job = session.run(*paths)
    for shown in (job.hazy, session.preview(*paths)[0]):
        np.testing.assert_array_equal(images.read_image(shown), upright(visible, 6))
    np.testing.assert_array_equal(images.read_image(job.infrared), upright(infrared, 6))
    assert "turned upright" in job.notes[0] and "--" not in job.notes[0]
    (note,) = session.run(paths[0], pair[1]).notes
    assert "taken as stored" in note and "--" not in note
    assert images.image_size(session.preview(paths[0], None)[0]) == (40, 56)


def test_temperatures_are_taken_where_they_are_stretched(network, session, pair, tmp_path):
    celsius = np.linspace(10, 30, 40 * 56, dtype=np.float32).reshape(40, 56)
    save(tmp_path / "t.tif", bytes(cv2.imencode(".tif", celsius)[1]))
    infrared = str(tmp_path / "t.tif")
    session.run(pair[0], infrared, Options(stretch=True, low=0, high=100))
    np.testing.assert_allclose(network.seen[-1][1], (celsius - 10) / 20, atol=1e-6)
    shown = images.read_image(session.preview(None, infrared)[1])
    assert shown[0, 0] == 0 and shown[-1, -1] == 255 and np.corrcoef(shown.ravel(), celsius.ravel())[0, 1] > 0.99
    with pytest.raises(UserError) as error:
        session.run(pair[0], infrared)
    assert str(error.value).endswith(f'or choose "{demo_session.STRETCH}"') and "--" not in str(error.value)


def write_text(path):
    path.write_text("no image")


def write_truncated(path):
    noise = np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)
    path.write_bytes(cv2.imencode(".png", noise)[1].tobytes()[:800])


def write_large(path):
    images.write_image(path, np.zeros((101, 100), np.uint8))


def write_other_size(path):
    images.write_image(path, np.zeros((30, 56), np.uint8))


@pytest.mark.parametrize(
    "write, words",
    [
        (write_text, "is not a PNG"),
        (write_truncated, "truncated"),
        (write_large, "100 x 101 are more than the 10,000 pixels"),
        (write_other_size, "infrared is 56 x 30, visible 56 x 40"),
    ],
)
def test_bad_files_are_told_in_one_line(session, pair, tmp_path, write, words):
    bad = tmp_path / "secret" / "bad.png"
    bad.parent.mkdir()
    write(bad)
    with pytest.raises(UserError) as error:
        session.run(pair[0], str(bad))
    message = str(error.value)
    assert words in message and "\n" not in message and "secret" not in message and "_infrared" not in message


@pytest.mark.parametrize(
    "options, words",
    [
        (Options(stretch=True, low=None), "fill in both"),
        (Options(stretch=True, low=50, high=2), "50, 2"),
        (Options(weights="/etc/passwd"), "not offered"),
    ],
)
def test_bad_options_are_told(session, pair, options, words):
    with pytest.raises(UserError, match=words):
        session.run(*pair, options)


def test_a_pair_has_two(session, pair):
    for some in ((None, None), (pair[0], None), (None, pair[1])):
        with pytest.raises(UserError, match="two images are needed"):
            session.run(*some)


def test_a_preview_shows_what_is_there_and_checks_it(session, pair, tmp_path):
    sixteen = tmp_path / "sixteen.tif"
    images.write_image(sixteen, np.full((40, 56), 0x8080, np.uint16))
    assert session.preview(None, None) == (None, None)
    hazy, infrared = session.preview(pair[0], str(sixteen))
    assert hazy.suffix == infrared.suffix == ".png" and (images.read_image(infrared) == 0x80).all()
    write_large(tmp_path / "large.png")
    with pytest.raises(UserError, match="more than"):
        session.preview(str(tmp_path / "large.png"), None)


def test_old_results_are_removed(session, pair):
    jobs = [session.run(*pair) for _ in range(demo_session.KEPT_JOBS + 2)]
    assert [job.fused.exists() for job in jobs] == [False] * 2 + [True] * demo_session.KEPT_JOBS


def test_results_go_after_an_hour(session, pair):
    old, new = session.run(*pair), session.run(*pair)
    hour_ago = time.time() - 3601
    os.utime(old.fused.parent, (hour_ago, hour_ago))
    session.sweep()
    assert not old.fused.parent.exists() and new.fused.exists()


def test_a_quiet_page_sweeps_too(gradio, monkeypatch):
    swept, waits = [], iter([None, None, KeyboardInterrupt])

    def sleep(seconds):
        if stop := next(waits):
            raise stop

    swept_session = types.SimpleNamespace(sweep=lambda: swept.append(1))
    monkeypatch.setattr(demo, "Session", lambda *_: swept_session)
    monkeypatch.setattr(demo_session, "make_examples", lambda folder: [])
    monkeypatch.setattr(demo, "build", lambda *_: types.SimpleNamespace(close=lambda verbose: None))
    monkeypatch.setattr(demo, "_launch", lambda *_: "http://here")
    monkeypatch.setattr(demo, "_check_address", lambda *_: None)
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)
    monkeypatch.setattr(demo.time, "sleep", sleep)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with pytest.raises(KeyboardInterrupt):
        demo.run()
    assert len(swept) == 2


def test_weights_come_with_what_they_know(session, network, tmp_path):
    assert session.choices() == shipped.names() and "msrs_release" in session.haze_line("iassf-msrs")
    own = Session(tmp_path, "runs/mine")
    assert own.choices() == ["runs/mine", *shipped.names()] and "without a card" in own.haze_line("runs/mine")


def test_examples_are_hazed_scenes(tmp_path):
    first, again = demo_session.make_examples(tmp_path / "a"), demo_session.make_examples(tmp_path / "b")
    assert len({example.caption for example in first}) == len(first) == 4
    for one, other in zip(first, again, strict=True):
        visible, infrared = images.read_visible(one.visible), images.read_infrared(one.infrared)
        assert visible.shape[:2] == infrared.shape == demo_session.EXAMPLE_SIZE
        assert one.visible.read_bytes() == other.visible.read_bytes()


def test_what_files_are_called_is_text():
    status = demo_session.status_html("<img src=x onerror=alert(1)>.png: bad", error=True)
    assert "<img" not in status and "&lt;img" in status and 'role="alert"' in status


def test_prompt_weights_are_a_table():
    table = demo_session.prompt_weights_html({"ir": np.float32([0.5, 0.5]), "vi": np.float32([0.25, 0.75])})
    assert table.index("visible") < table.index("infrared") and table.count("<tr>") == 3
    assert "0.75" in table and "--share:1.000" in table and "--share:0.333" in table


def test_compiling_is_told_apart():
    assert demo_session.time_taken((40, 56, 3), 5.0, 3.0).startswith("2.0 s for 56 x 40 pixels, after 3.0 s of comp")
    assert demo_session.time_taken((40, 56, 3), 5.0, 0.0) == "5.0 s for 56 x 40 pixels"


@pytest.fixture
def gradio(monkeypatch):
    """An empty module in Gradio's place; the environment is as before afterwards."""
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "gradio", types.ModuleType("gradio"))


def leave_with(*argv):
    with pytest.raises(SystemExit) as leave:
        main(["demo", *map(str, argv)])
    return leave.value.code


def test_without_gradio_the_extra_is_named(gradio, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code = leave_with()
    assert "iassf-jax[demo]" in code and "\n" not in code


def test_a_port_in_use_is_told(gradio):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = leave_with("--port", port)
    assert str(port) in code and "in use" in code and "\n" not in code


@pytest.mark.parametrize("argv", [("--port", 0), ("--port", 70000), ("--host", "192.0.2.1"), ("--host", "no-name")])
def test_a_bad_address_is_told(gradio, argv, monkeypatch):
    def resolve(host, *args, resolve=socket.getaddrinfo, **kwargs):
        if host == "no-name":  # without asking the network
            raise socket.gaierror
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    code = leave_with(*argv)
    assert code.startswith("error: ") and argv[0] in code and "\n" not in code


def test_bad_weights_and_limits_are_told(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        Session(tmp_path, "nowhere")
    with pytest.raises(UserError, match="max-pixels"):
        Session(tmp_path, max_pixels=0)


def test_defaults_are_the_same_everywhere():
    from iassf_jax.cli.main import _parser

    args = _parser().parse_args(["demo"])
    assert (args.host, args.port, args.max_pixels) == (demo.HOST, demo.PORT, demo_session.MAX_PIXELS)
