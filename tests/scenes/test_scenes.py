"""Generated scenes: the same everywhere, geometrically sound, and two modalities that each know something."""

import hashlib
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from iassf_jax import scenes
from iassf_jax.errors import UserError
from iassf_jax.scenes.canvas import FAR, Camera, Canvas, Climate
from iassf_jax.scenes.materials import Paint

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEEDS = range(40, 52)


@pytest.fixture(scope="module")
def sample():
    """Small scenes by lighting: the same layouts by day, at dusk and at night."""
    return {light: [scenes.generate_scene(seed, 144, 192, light) for seed in SEEDS] for light in scenes.LIGHTINGS}


def digest(scene: scenes.Scene) -> str:
    parts = (scene.visible, scene.infrared, scene.depth, scene.people)
    return hashlib.sha256(b"".join(p.tobytes() for p in parts) + scene.lighting.encode()).hexdigest()


def grey(scene: scenes.Scene) -> np.ndarray:
    return scene.visible.astype(np.float32).mean(-1)


def test_same_bits_again_and_in_another_process():
    wanted = [(7, 96, 128, None), (8, 61, 75, "night"), (2**63, 48, 64, "dusk")]
    here = [digest(scenes.generate_scene(*w)) for w in wanted]
    scenes.generate_scene(99, 32, 32)  # whatever was made in between
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        assert here == [digest(scenes.generate_scene(*w)) for w in wanted]
    finally:
        cv2.setNumThreads(threads)
    code = (
        "import sys, tests.scenes.test_scenes as t; assert 'jax' not in sys.modules;"
        f"print(*[t.digest(t.scenes.generate_scene(*w)) for w in {wanted}])"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "123"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == here
    assert len(set(here)) == 3


def test_importing_loads_no_jax():
    """Spawned data workers import this module: it must stay light."""
    code = "import sys, iassf_jax.scenes; print(sorted({'jax', 'flax', 'grain'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("lighting", scenes.LIGHTINGS)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (99, 133), (64, 200), (200, 64)])
def test_any_size(height, width, lighting):
    for seed in (3, 4):
        scene = scenes.generate_scene(seed, height, width, lighting)
        assert scene.visible.shape == (height, width, 3) and scene.visible.dtype == np.uint8
        assert scene.infrared.shape == (height, width) and scene.infrared.dtype == np.uint8
        assert scene.depth.shape == (height, width) and scene.depth.dtype == np.float32
        assert scene.people.shape == (height, width) and scene.people.dtype == bool
        assert scene.lighting == lighting
        assert scene.visible.std() > 2 and scene.infrared.std() > 2  # something is drawn


def test_layout_scales_with_the_size():
    for seed in SEEDS[:4]:
        small, large = (scenes.generate_scene(seed, *size, "day") for size in ((96, 128), (192, 256)))
        near = np.log(small.depth), np.log(cv2.resize(large.depth, (128, 96), interpolation=cv2.INTER_NEAREST))
        assert (np.abs(near[0] - near[1]) < 0.1).mean() > 0.8


def test_seed_draws_every_lighting():
    drawn = [scenes.generate_scene(seed, 16, 16).lighting for seed in range(40)]
    assert drawn.count("day") > 10 and drawn.count("night") > 8 and 2 < drawn.count("dusk") < 14


def test_depth_is_that_of_a_ground_plane_under_a_sky(sample):
    for scene in (s for group in sample.values() for s in group):
        sky = scene.depth == scenes.SKY_DEPTH
        assert np.isfinite(scene.depth).all() and scene.depth.min() > 0.2
        assert scene.depth[~sky].max() <= FAR < scenes.SKY_DEPTH
        assert not sky[-20:].any()  # ground at the bottom
        rows = np.median(scene.depth, axis=1)
        assert rows[-1] < rows[-30] < rows[: len(rows) // 3].max()
    for scene in sample["day"][:6]:  # on bare ground inverse depth is linear in the row, 0 at the horizon
        inverse = 1 / scene.depth[-24:].astype(np.float64)
        steps = np.diff(inverse, axis=0)
        step = np.median(steps)
        bare = (np.abs(steps - step) < 1e-3 * step).all(0)
        assert step > 0 and bare.mean() > 0.3
        horizon = len(scene.depth) - 24 - inverse[0, bare] / step
        assert np.ptp(horizon) < 0.2 and 0.3 < horizon.mean() / len(scene.depth) < 0.65


def test_a_board_hides_what_is_behind_it_in_every_modality():
    camera, climate = Camera(80, 50, 40, 1.5), Climate("day", 10, None)
    canvas = Canvas(camera, climate, 80, 100)
    for z, rgb, heat in ((20.0, (200, 0, 0), 30.0), (10.0, (0, 200, 0), 0.0)):
        canvas.board(0, z, [(-2, 0), (2, 0), (2, 3), (-2, 3)], Paint(rgb, heat))
    seen = canvas.resolve((0, 0))
    near = np.abs(seen.depth - 10) < 1e-3
    top, left = np.argwhere(near).min(0)
    bottom, right = np.argwhere(near).max(0)
    # 4 m x 3 m at 10 m through 80 pixels: 32 x 24 pixels, the foot 1.5 m below the horizon
    assert np.abs(np.array((left, right, top, bottom)) - (34, 65, 28, 51)).max() <= 1
    inside = (slice(top + 2, bottom - 1), slice(left + 2, right - 1))
    assert (seen.colour[inside] == (0, 200, 0, 80)).all()  # 0 degrees is byte 80
    assert seen.glow[2, 2, 3] == 255 and seen.depth[2, 2] == scenes.SKY_DEPTH  # sky


def test_people_are_warm_also_where_the_visible_image_is_dark(sample):
    contrast, hidden = [], 0
    for lit, scene in [("night", s) for s in sample["night"]] + [("day", s) for s in sample["day"]]:
        if scene.people.sum() < 30:
            continue
        around = cv2.dilate(scene.people.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~scene.people
        gain = scene.infrared[scene.people].mean() - scene.infrared[around].mean()
        assert gain > 10, (lit, gain)
        contrast.append(gain)
        hidden += lit == "night" and abs(grey(scene)[scene.people].mean() - grey(scene)[around].mean()) < 10
    assert len(contrast) >= 8 and np.mean(contrast) > 50
    assert hidden >= 3


def test_modalities_are_not_redundant(sample):
    for group in sample.values():
        both = [np.corrcoef(grey(s).ravel(), s.infrared.ravel())[0, 1] for s in group]
        assert abs(np.mean(both)) < 0.7
        assert np.mean(np.abs(both) > 0.95) < 0.1
    colour = [np.ptp(s.visible.astype(int), axis=-1).mean() for s in sample["day"]]
    assert np.mean(colour) > 8  # not a grey image in three channels


def test_sky_is_cold_and_modalities_are_aligned(sample):
    shifts = []
    for scene in sample["day"]:
        sky = cv2.erode((scene.depth == scenes.SKY_DEPTH).astype(np.uint8), np.ones((5, 5))).astype(bool)
        if 300 < sky.sum() < 0.6 * sky.size:
            assert scene.infrared[sky].mean() < scene.infrared[~sky].mean()
            # the sky's outline is in all three: it must lie at the same place
            edge = np.where(scene.depth == scenes.SKY_DEPTH, -1.0, 1.0).astype(np.float32)
            shifts.append(cv2.phaseCorrelate(edge, scene.infrared.astype(np.float32))[0])
            shifts.append(cv2.phaseCorrelate(edge, -grey(scene))[0])
    assert len(shifts) >= 6
    assert np.abs(np.median(shifts, axis=0)).max() < 0.5


def test_brightness_follows_the_lighting_and_infrared_varies(sample):
    mean = {light: np.mean([grey(s).mean() for s in group]) for light, group in sample.items()}
    assert 75 < mean["day"] < 125 and 45 < mean["dusk"] < 76 and 13 < mean["night"] < 45
    infrared = [s.infrared.mean() for group in sample.values() for s in group]
    assert min(infrared) < 40 and max(infrared) > 80


def test_source_is_random_access():
    source = scenes.SceneSource(5, seed=1, height=24, width=32)
    assert len(source) == 5 and len(list(source)) == 5
    assert digest(source[3]) == digest(source[3]) == digest(scenes.SceneSource(9, 1, 24, 32)[3]) == digest(source[-2])
    others = [digest(source[i]) for i in range(5)] + [digest(scenes.SceneSource(5, 2, 24, 32)[3])]
    assert len(set(others)) == 6
    with pytest.raises(IndexError):
        source[5]


def test_written_scenes_read_back(tmp_path):
    source = scenes.SceneSource(4, seed=5, height=40, width=56)
    stems = scenes.write_scenes(tmp_path / "out", 4, seed=5, height=40, width=56)
    assert stems == list(source.stems) == [f"{i:05d}{scenes.LETTERS[source[i].lighting]}" for i in range(4)]
    for scene, stem in zip(source, stems, strict=True):
        files = {name: str(tmp_path / "out" / name / f"{stem}.png") for name in ("vi", "ir", "depth")}
        read = {name: cv2.imread(file, cv2.IMREAD_UNCHANGED) for name, file in files.items()}
        np.testing.assert_array_equal(read["vi"][..., ::-1], scene.visible)
        np.testing.assert_array_equal(read["ir"], scene.infrared)
        assert read["depth"].dtype == np.uint16
        sky = scene.depth == scenes.SKY_DEPTH
        np.testing.assert_allclose(read["depth"][~sky] / 100, scene.depth[~sky], atol=0.00501)
        assert (read["depth"][sky] == 65535).all() and (read["depth"][~sky] < 65535).all()
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 12  # no temporary file left


def test_scenes_of_two_seeds_do_not_get_into_one_folder(tmp_path):
    """The same command may be given again; another one would leave some of the former scenes beside its own."""
    first = scenes.write_scenes(tmp_path, 3, seed=5, height=16, width=16)
    assert scenes.write_scenes(tmp_path, 3, seed=5, height=16, width=16) == first
    for count, seed in ((2, 5), (3, 6)):
        with pytest.raises(UserError, match=r"holds other images, as 0000..\.png: give a new folder"):
            scenes.write_scenes(tmp_path, count, seed=seed, height=16, width=16)
    assert {path.stem for path in (tmp_path / "vi").iterdir()} == set(first)


def test_a_failed_write_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        scenes.write_scenes(tmp_path / "taken", 1, height=16, width=16)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        scenes.write_scenes(tmp_path / "full", 1, height=16, width=16)
    assert not [p for p in (tmp_path / "full").rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 15, 64), "16..4096"),
        ((0, 64, 5000), "16..4096"),
        ((0, 64.0, 64), "integers"),
        ((-1, 64, 64), "0 or more"),
        ((0, 64, 64, "noon"), "day, dusk, night"),
        (("seed",), "integers"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        scenes.generate_scene(*arguments)
    assert "\n" not in str(caught.value)


def test_bad_sources_are_refused_early():
    for arguments in ((-1,), (3, -2), (3, 0, 8, 64)):
        with pytest.raises(UserError):
            scenes.SceneSource(*arguments)
