"""Haze by made-up depth: what it depends on, and that it looks like haze where that can be told in numbers."""

import numpy as np
import pytest

from haze_images import rng, smooth_image
from iassf_jax.data import haze
from iassf_jax.data.haze import apply_haze, draw_haze
from iassf_jax.data.haze.depth_like import make_layers
from iassf_jax.data.haze.folder import haze_folder
from iassf_jax.data.images import write_image
from iassf_jax.errors import UserError

KINDS = ("depth_like", "depth_like_night")


def street(height=120, width=160, sky=200):
    """Smooth sky over a textured ground, with one dark box that stands up into the sky."""
    image = np.full((height, width, 3), sky, np.uint8)
    image[height // 2 :] = rng(0).integers(40, 120, (height - height // 2, width, 3))
    image[height // 4 : height // 2, width // 3 : width // 2] = 20
    return image


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 2), (120, 160), (300, 220)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("night", [False, True])
def test_layers_of_any_size(shape, dtype, night):
    clear = rng(1).integers(0, np.iinfo(dtype).max + 1, (*shape, 3)).astype(dtype)
    depth, air = make_layers(clear, (0.8, 0.7, 0.6), 5, night)
    assert depth.shape == shape and air.shape == (*shape, 3) and depth.dtype == air.dtype == np.float32
    for layer in (depth, air):
        assert np.isfinite(layer).all() and layer.min() >= 0 and layer.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_and_the_image_decide_everything(kind):
    params, other = draw_haze(kind, rng(1)), draw_haze(kind, rng(2))
    assert params == draw_haze(kind, rng(1)) and params.seed != other.seed
    clear = street()
    before = clear.copy()
    np.testing.assert_array_equal(apply_haze(clear, params), apply_haze(clear, params))
    np.testing.assert_array_equal(clear, before)
    first, second = (haze.transmission(p, 120, 160, guide=clear) for p in (params, other))
    assert np.abs(first - second).max() > 0.02


def test_the_upper_half_is_farther_than_the_lower_and_the_sky_is_farthest():
    clear = street()
    depths = [make_layers(clear, (0.8,) * 3, seed, False)[0] for seed in range(20)]
    assert all(depth[:30].mean() > depth[-30:].mean() for depth in depths)
    mean = np.mean(depths, axis=0)
    assert mean[:15].mean() > 0.85 and mean[-10:].mean() < 0.4


def test_depth_is_smooth_but_for_the_images_edges():
    """No seams: away from the box and the horizon a step from pixel to pixel is small."""
    clear = street()
    clear[60:] = 90
    for seed in range(20):
        depth = make_layers(clear, (0.8,) * 3, seed, False)[0]
        assert np.abs(np.diff(depth[:25], axis=0)).max() < 0.03
        assert np.abs(np.diff(depth[66:], axis=1)).max() < 0.06


def test_depth_follows_the_edges_of_the_image():
    flat = street()
    flat[:60] = 200
    steps = []
    for clear in (street(), flat):
        depths = [make_layers(clear, (0.8,) * 3, seed, False)[0] for seed in range(20)]
        steps.append(np.mean([abs(depth[45, 84] - depth[45, 75]) for depth in depths]))
    assert steps[0] > 2 * steps[1]


def test_light_and_dense_haze_are_both_drawn():
    clear = street()
    means = [haze.transmission(draw_haze("depth_like", rng(s)), 120, 160, guide=clear).mean() for s in range(60)]
    assert min(means) < 0.35 and max(means) > 0.75


def test_hazier_is_nearer_to_the_air_and_without_beta_nothing_changes():
    clear = street()
    none = haze.HazeParams("depth_like", (0.7, 0.8, 0.9), 0.0, seed=4)
    np.testing.assert_array_equal(apply_haze(clear, none), clear)
    thick = apply_haze(clear, haze.HazeParams("depth_like", (0.7, 0.8, 0.9), 300.0, seed=4)).reshape(-1, 3) / 255
    assert (thick[:, 0] < thick[:, 2]).all()
    assert np.abs(thick.mean(axis=0) - (0.7, 0.8, 0.9)).max() < 0.2


def test_air_light_suits_the_image():
    dark, bright = np.full((60, 80, 3), 10, np.uint8), np.full((60, 80, 3), 220, np.uint8)
    day, night = (0.9, 0.9, 0.9), (0.2, 0.18, 0.15)
    assert make_layers(dark, day, 0, False)[1].mean() < 0.6 < 0.75 < make_layers(bright, day, 0, False)[1].mean()
    assert make_layers(bright, night, 0, True)[1].mean() > 0.75
    assert make_layers(dark, night, 0, True)[1].mean() < 0.25


def test_lamps_glow_at_night_only():
    clear = np.full((120, 160, 3), 8, np.uint8)
    clear[40:46, 50:56] = (255, 220, 150)
    excess = []
    for seed in range(8):
        night, day = (make_layers(clear, (0.3,) * 3, seed, night)[1] for night in (True, False))
        excess.append(night[43, 57].mean() - night[43, 110].mean())
        assert abs(day[43, 57].mean() - day[43, 65].mean()) < 0.01
        assert night[43, 57, 0] > night[43, 57, 2]  # of the lamp's colour
    assert np.mean(excess) > 0.04


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_needs_the_full_image(kind):
    clear, params = street(), draw_haze(kind, rng(0))
    part = clear[10:40, 20:60]
    with pytest.raises(UserError, match="follows the full clear image: give that as guide"):
        apply_haze(part, params, window=(10, 20, 120, 160))
    with pytest.raises(UserError, match=r"guide of shape \(30, 40, 3\) for an image of \(120, 160\)"):
        apply_haze(part, params, window=(10, 20, 120, 160), guide=part)
    with pytest.raises(UserError, match="give that as guide"):
        haze.transmission(params, 30, 40)


def test_folders_can_be_hazed(tmp_path):
    write_image(tmp_path / "clear" / "a.png", smooth_image(20, 30, 0))
    records, problems = haze_folder(tmp_path / "clear", tmp_path / "out", "depth_like", 3)
    assert not problems and records[0].params.seed > 0
    again, _ = haze_folder(tmp_path / "clear", tmp_path / "out", "depth_like", 3)
    assert again == records
