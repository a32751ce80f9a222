"""Haze: values by hand, crops, drawing, and depth maps."""

import dataclasses
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from haze_images import rng, smooth_image
from iassf_jax.data import haze, images
from iassf_jax.data.haze import HazeParams, apply_haze, draw_haze, load_depth
from iassf_jax.errors import UserError


def release_by_the_book(clear, airlight, beta, q):
    """data.md, formula by formula, a pixel at a time."""
    height, width, _ = clear.shape
    top = 255 if clear.dtype == np.uint8 else 65535
    out = np.zeros_like(clear)
    for y in range(height):
        for x in range(width):
            d = math.sqrt(max(height, width)) * (1 + q * math.sin(2 * math.pi * (x + y) / (height + width)))
            t = math.exp(-beta * d)
            for c in range(3):
                u = int(clear[y, x, c]) / top * t + airlight * (1 - t)
                out[y, x, c] = math.floor(top * (0.5 + 0.5 * u))
    return out


# ---- values


def test_release_formula_by_hand():
    # 2 x 4, x + y = 0..4, H + W = 6: sin(0) = 0, sin(2 pi / 6) = 0.8660254; sqrt(4) = 2; beta 0.05, q 0.5, A 0.5.
    # x + y = 0: d = 2,       t = exp(-0.1)        = 0.9048374; J = 100/255: u = 0.4024140 -> 255 * 0.7012070 = 178.8
    # x + y = 1: d = 2.866025, t = exp(-0.14330127) = 0.8664930; J = 1:       u = 0.9332465 -> 255 * 0.9666232 = 246.5
    # x + y = 2: the same sine;                                  J = 0:       u = 0.0667535 -> 255 * 0.5333768 = 136.01
    # x + y = 3: sin(pi) = 0, as x + y = 0:                      J = 0:       u = 0.0475813 -> 255 * 0.5237906 = 133.6
    # x + y = 4: d = 2 - 0.866025, t = 0.9448730;                J = 0:       u = 0.0275635 -> 255 * 0.5137817 = 131.01
    params = HazeParams("msrs_release", (0.5, 0.5, 0.5), 0.05, 0.5, half_range=True)
    clear = np.zeros((2, 4, 3), np.uint8)
    clear[0, 0], clear[0, 1] = 100, 255
    hazy = apply_haze(clear, params)
    assert hazy.dtype == np.uint8 and hazy.shape == clear.shape
    assert hazy[0, :, 0].tolist() == [178, 246, 136, 133]
    assert hazy[1, 3].tolist() == [131, 131, 131]
    t = haze.transmission(params, 2, 4)
    assert t.dtype == np.float64 and t.shape == (2, 4)
    np.testing.assert_allclose(t[0], [0.9048374, 0.8664930, 0.8664930, 0.9048374], atol=1e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(12, 17), (17, 12), (1, 1)])
def test_release_formula_pixel_by_pixel(dtype, shape):
    clear = rng(1).integers(0, np.iinfo(dtype).max + 1, (*shape, 3)).astype(dtype)
    params = HazeParams("msrs_release", (0.41,) * 3, 0.037, 0.55, half_range=True)
    assert np.array_equal(apply_haze(clear, params), release_by_the_book(clear, 0.41, 0.037, 0.55))


def test_release_without_haze_still_halves_the_contrast():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    hazy = apply_haze(levels, HazeParams("msrs_release", (0.5,) * 3, 0.0, 0.5, half_range=True))
    hazy = hazy[..., 0].ravel()
    assert hazy.min() == 127 and hazy.max() == 255
    # 127.5 + level / 2: for an odd level a whole number, which float64 may miss by a hair on either side
    assert hazy[::2].tolist() == list(range(127, 255))
    assert set(hazy[1::2].astype(int) - np.arange(128, 256)) <= {0, -1}


def test_homogeneous_by_hand():
    # t = exp(-0.6931472) = 0.5; A = (0.8, 0.6, 1): R 100 -> 50 + 102 = 152, G 200 -> 100 + 76.5 = 176.5, B 0 -> 127.5
    params = HazeParams("homogeneous", (0.8, 0.61, 1.0), math.log(2))
    # G with A = 0.61: 100 + 77.775 = 177.8; B 1 -> 0.5 + 127.5 = 128
    hazy = apply_haze(np.array([[[100, 200, 1]]], np.uint8), params)
    assert hazy.tolist() == [[[152, 178, 128]]]
    # 16 bits: 10000 -> 5000 + 26214 = 31214; 65535 -> 32767.5 + 19988.2 = 52755.7; 1 -> 0.5 + 32767.5 = 32768
    hazy = apply_haze(np.array([[[10000, 65535, 1]]], np.uint16), params)
    assert hazy.dtype == np.uint16 and hazy.tolist() == [[[31214, 52756, 32768]]]
    assert np.allclose(haze.transmission(params, 3, 4), np.full((3, 4), 0.5))


def test_depth_by_hand():
    # beta 0.01 / m: 0 m -> t = 1, 69.31472 m -> t = 0.5, far -> t = exp(-100), the air light itself
    depth = np.array([[0, 69.31472, haze.FAR_METRES]], np.float32)
    params = HazeParams("depth", (0.8, 0.8, 0.8), 0.01)
    hazy = apply_haze(np.full((1, 3, 3), 100, np.uint8), params, depth)
    assert hazy[0, :, 0].tolist() == [100, 152, 204]
    np.testing.assert_allclose(haze.transmission(params, 1, 3, depth), [[1, 0.5, math.exp(-100)]], atol=1e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_none_changes_nothing(dtype):
    clear = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1, 1).repeat(3, 2)
    hazy = apply_haze(clear, draw_haze("none", rng()))
    assert np.array_equal(hazy, clear) and hazy is not clear


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_extremes_do_not_wrap_around(dtype):
    top = np.iinfo(dtype).max
    clear = np.array([[[0, top, 0]], [[top, top, 0]]], dtype)
    for half_range in (False, True):
        for beta in (0.0, 1e-9, 0.3, 1e5):
            white = apply_haze(clear, HazeParams("homogeneous", (1.0,) * 3, beta, half_range=half_range))
            assert (white[clear == top] == top).all()
            black = apply_haze(clear, HazeParams("homogeneous", (0.0,) * 3, beta, half_range=half_range))
            assert (black[clear == 0] == (top // 2 if half_range else 0)).all()


# ---- crops


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", haze.HAZE_KINDS)
def test_crop_then_haze_is_haze_then_crop(kind, dtype):
    full = rng(2).integers(0, np.iinfo(dtype).max + 1, (91, 133, 3)).astype(dtype)
    depth = rng(3).uniform(0, 200, (91, 133)).astype(np.float32)
    generator = rng(4)
    for _ in range(8):
        params = draw_haze(kind, generator)
        whole = apply_haze(full, params, depth)
        y, x = generator.integers(0, 60), generator.integers(0, 100)
        part = np.s_[y : y + generator.integers(1, 31), x : x + generator.integers(1, 33)]
        of_whole = haze.HAZE_KINDS[kind].air is not None
        guide = full if haze.HAZE_KINDS[kind].layers or of_whole else None
        near = depth if of_whole else depth[part]
        hazy = apply_haze(full[part], params, near, (int(y), int(x), 91, 133), guide)
        assert np.array_equal(hazy, whole[part])
        copied = apply_haze(full[part].copy(), params, near.copy(), (int(y), int(x), 91, 133), guide)
        assert np.array_equal(copied, whole[part])


def test_release_needs_the_window_to_be_right():
    full = smooth_image(64, 96, 0)
    params = HazeParams("msrs_release", (0.5,) * 3, 0.05, 0.6, half_range=True)
    part = np.s_[20:50, 30:80]
    assert not np.array_equal(apply_haze(full[part], params), apply_haze(full, params)[part])


# ---- wrong calls


def test_apply_refuses():
    grey, image, params = np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8), draw_haze("homogeneous", rng())
    deep = HazeParams("depth", (0.8,) * 3, 0.02)
    cases = [
        ((grey, params), "needs uint8 or uint16 images"),
        ((image.astype(np.float32), params), "not float32"),
        ((image[:0], params), r"\(0, 5, 3\)"),
        ((image, params, None, (1, 0, 4, 5)), r"5 x 4 is not in the window \(1, 0, 4, 5\)"),
        ((image, params, None, (0, -1, 9, 9)), "is not in the window"),
        ((image, deep), "needs a depth map"),
        ((image, deep, np.zeros((5, 4))), r"depth map of shape \(5, 4\) for an image of \(4, 5\)"),
    ]
    for arguments, match in cases:
        with pytest.raises(UserError, match=match):
            apply_haze(*arguments)
    with pytest.raises(UserError, match="needs a depth map"):
        haze.transmission(deep, 4, 5)


@pytest.mark.parametrize(
    "changes",
    [{"airlight": (0.5, 0.5)}, {"airlight": (0.5, 0.5, 1.1)}, {"beta": -0.1}, {"beta": math.nan}, {"beta": math.inf}]
    + [{"ripple": 1.5}, {"kind": "fog"}, {"seed": -1}, {"seed": 1.5}],
)
def test_params_that_mean_nothing(changes):
    with pytest.raises(UserError):
        HazeParams(**{"kind": "homogeneous", "airlight": (0.5, 0.5, 0.5), "beta": 0.1, **changes})


# ---- drawing


def test_default_ranges_are_the_documented_ones():
    draws = [draw_haze("msrs_release", generator) for generator in [rng(7)] for _ in range(400)]
    for values, low, high in (
        ([p.airlight[0] for p in draws], 0.3, 0.6),
        ([p.beta for p in draws], 0.0, 0.05),
        ([p.ripple for p in draws], 0.4, 0.6),
    ):
        assert low <= min(values) < low + 0.03 * (high - low) and high - 0.03 * (high - low) < max(values) <= high
        assert abs(np.mean(values) - (low + high) / 2) < 0.1 * (high - low)
    assert all(len(set(p.airlight)) == 1 and p.half_range for p in draws)
    for kind in ("homogeneous", "depth"):
        draws = [draw_haze(kind, generator) for generator in [rng(8)] for _ in range(400)]
        middle = [p.airlight[1] for p in draws]
        assert 0.6 <= min(middle) < 0.62 and 0.98 < max(middle) <= 1
        assert max(abs(a - p.airlight[1]) for p in draws for a in p.airlight) <= 0.03 + 1e-12
        assert any(p.airlight[0] > p.airlight[2] for p in draws) and any(p.airlight[0] < p.airlight[2] for p in draws)
        assert not any(p.half_range or p.ripple for p in draws)
    assert all(0.3 <= math.exp(-draw_haze("homogeneous", rng(seed)).beta) <= 0.9 for seed in range(50))
    assert all(0.005 <= draw_haze("depth", rng(seed)).beta <= 0.05 for seed in range(50))


def test_draws_follow_the_generator_and_its_order():
    reference = rng(5)
    airlight, beta, ripple = reference.uniform(0.3, 0.6), reference.uniform(0, 0.05), reference.uniform(0.4, 0.6)
    assert draw_haze("msrs_release", rng(5)) == HazeParams("msrs_release", (airlight,) * 3, beta, ripple, True)
    # one number for each range: overriding the first leaves the others as they are
    fixed = draw_haze("msrs_release", rng(5), {"airlight": (0.5, 0.5)})
    assert fixed == HazeParams("msrs_release", (0.5,) * 3, beta, ripple, True)


def test_ranges_can_be_replaced():
    params = draw_haze("homogeneous", rng(), {"airlight": (0.99, 0.99), "tint": (0.02, 0.02), "t": (0.25, 0.25)})
    np.testing.assert_allclose(params.airlight, (1.0, 0.99, 0.97), atol=1e-12)  # R would be 1.01
    assert math.isclose(params.beta, math.log(4))
    assert draw_haze("homogeneous", rng(), {"t": (1, 1)}).beta == 0
    assert draw_haze("depth", rng(), {"beta": (0.1, 0.1)}).beta == pytest.approx(0.1)


@pytest.mark.parametrize(
    "kind, ranges, match",
    [
        ("fog", None, "unknown haze kind 'fog': use one of outdoor, dense, msrs_release, homogeneous, depth, none"),
        ("depth", {"ripple": (0, 1)}, "'depth' has no range 'ripple': it has airlight, tint, beta"),
        ("none", {"beta": (0, 1)}, "'none' has no range 'beta': it has none at all"),
        ("depth", {"beta": (0.2, 0.1)}, r"range beta = \(0.2, 0.1\): give \(low, high\) between 0 and"),
        ("depth", {"beta": (-1, 0.1)}, "range beta"),
        ("depth", {"beta": (0.1,)}, "range beta"),
        ("depth", {"airlight": (0.5, 1.5)}, "range airlight"),
        ("homogeneous", {"t": (0, 1)}, "range t"),
        ("homogeneous", {"t": (math.nan, 1)}, "range t"),
    ],
)
def test_wrong_ranges(kind, ranges, match):
    with pytest.raises(UserError, match=match):
        draw_haze(kind, rng(), ranges)


@pytest.mark.parametrize("kind", haze.HAZE_KINDS)
def test_params_survive_json(kind):
    params = draw_haze(kind, rng(3))
    assert HazeParams.from_dict(json.loads(json.dumps(dataclasses.asdict(params)))) == params


def test_params_of_older_files_have_no_seed():
    stored = dataclasses.asdict(draw_haze("homogeneous", rng(3)))
    del stored["seed"]
    assert HazeParams.from_dict(stored).seed == 0


@pytest.mark.parametrize("values", [{}, {"kind": "none"}, {"kind": "none", "airlight": [1, 1, 1], "beta": "a lot"}])
def test_params_from_damaged_json(values):
    with pytest.raises(UserError, match="cannot be used"):
        HazeParams.from_dict(values)


# ---- depth maps


def test_depth_and_disparity_are_read_as_said(tmp_path):
    images.write_image(tmp_path / "16.png", np.array([[0, 100, 65535]], np.uint16))
    images.write_image(tmp_path / "8.png", np.array([[0, 10, 200]], np.uint8))
    images.write_image(tmp_path / "rgb.png", np.array([[[4, 4, 4], [200, 200, 200]]], np.uint8))
    np.save(tmp_path / "f.npy", np.array([[0.0, -1.0, np.nan, np.inf, 2.5, 1e300, 1e-300]]))
    far = haze.FAR_METRES
    cases = [
        ("16.png", "depth", 0.01, [far, 1.0, 655.35]),
        ("16.png", "disparity", 500.0, [far, 5.0, 500 / 65535]),
        ("8.png", "depth", 0.5, [far, 5.0, 100.0]),
        ("8.png", "disparity", 100.0, [far, 10.0, 0.5]),
        ("rgb.png", "depth", 1.0, [4.0, 200.0]),
        ("f.npy", "depth", 2.0, [far, far, far, far, 5.0, far, 0.0]),
        ("f.npy", "disparity", 5.0, [far, far, far, far, 2.0, 0.0, far]),
        ("f.npy", "disparity", 1e200, [far, far, far, far, far, 1e-100, far]),
    ]
    for name, meaning, scale, metres in cases:
        depth = load_depth(tmp_path / name, meaning, scale)
        assert depth.dtype == np.float32 and depth.shape == (1, len(metres))
        np.testing.assert_allclose(depth[0], metres, rtol=1e-6, atol=1e-12)


def test_load_depth_refuses(tmp_path):
    path = tmp_path / "colour.png"
    images.write_image(path, np.array([[[1, 2, 3]]], np.uint8))
    np.save(tmp_path / "object.npy", np.array([[{}]], object))
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    (tmp_path / "text.npy").write_text("text\nof two lines")
    for name, meaning, scale, match in [
        ("colour.png", "depth", 1.0, "is a coloured picture of depth"),
        ("colour.png", "inverse", 1.0, "depth meaning is inverse"),
        ("colour.png", None, 1.0, "depth meaning is None"),
        ("colour.png", "depth", 0.0, "depth scale is 0"),
        ("colour.png", "depth", math.inf, "depth scale is inf"),
        ("colour.png", "disparity", None, "depth scale is None"),
        ("gone.png", "depth", 1.0, "no such file"),
        ("gone.npy", "depth", 1.0, "cannot be read as .npy"),
        ("object.npy", "depth", 1.0, "cannot be read as .npy"),
        ("text.npy", "depth", 1.0, "cannot be read as .npy"),
        ("cube.npy", "depth", 1.0, r"shape \(2, 2, 2\)"),
    ]:
        with pytest.raises(UserError, match=match) as caught:
            load_depth(tmp_path / name, meaning, scale)
        assert "\n" not in str(caught.value)


def test_data_workers_import_no_jax():
    modules = "iassf_jax.data.haze, iassf_jax.data.haze.folder"
    script = f"import sys; import {modules}; print([name for name in sys.modules if name.startswith('jax')])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
