"""Reconstruction "physical": what the scattering model says, step by step, and what a fresh network gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from iassf_jax.errors import UserError
from iassf_jax.fuse.maps import MapPredictor
from iassf_jax.fuse.strengths import Strengths
from iassf_jax.models import (
    brightening,
    build_model,
    guided_filter,
    haze_density,
    resampling,
    restoration,
    scattering,
)
from iassf_jax.models.parameters import smallest_pair

SMALL = {**tiny.NARROW, "reconstruction": "physical", "working_size": 64, "patch": 2}


def rng(seed=0):
    return np.random.default_rng(seed)


def foggy(height=48, width=64):
    """A scene with a sky in fog: visible, infrared, transmission; the air light is 0.8."""
    clear = rng(1).uniform(0.1, 0.6, (1, height // 8, width // 8, 3)).repeat(8, 1).repeat(8, 2)
    t = np.linspace(0.05, 0.9, height)[None, :, None].repeat(width, 2)
    clear[:, : height // 4] = 0.8
    infrared = clear.mean(-1) * 0.8
    return tuple(np.float32(x) for x in (clear * t[..., None] + 0.8 * (1 - t[..., None]), infrared, t))


@pytest.fixture(scope="module")
def network():
    model = build_model(SMALL)
    return model, jax.jit(model.init)(jax.random.key(0), *smallest_pair(model))


def test_dehaze_undoes_the_scattering_and_its_bounded_target_is_what_it_gives():
    clear, light = (np.float32(rng(s).uniform(0, 1, (2, 5, 6, 3))) for s in (0, 1))
    t = np.float32(rng(2).uniform(0.02, 1, (2, 5, 6)))
    hazy = clear * t[..., None] + light * (1 - t[..., None])
    np.testing.assert_allclose(scattering.dehaze(hazy, t, light, 0.01), clear, atol=2e-5)
    for bound in (0.1, 0.5):
        expected = scattering.bounded_clear(clear, t, light, bound)
        np.testing.assert_allclose(scattering.dehaze(hazy, t, light, bound), expected, atol=2e-5)
    np.testing.assert_array_equal(scattering.dehaze(hazy, t, light, 0.1, 0.0), hazy)


def test_noise_is_amplified_less_than_the_scene():
    base = np.full((1, 4, 4, 3), 0.6, np.float32)
    noisy = base + np.float32(rng().normal(0, 0.01, base.shape))
    t, light = np.full((1, 4, 4), 0.1, np.float32), np.full((1, 4, 4, 3), 0.7, np.float32)
    out = scattering.dehaze(noisy, t, light, 0.1, base=base)
    np.testing.assert_allclose(out, -0.3 + scattering.DETAIL_GAIN * (noisy - base), atol=1e-5)


def test_air_is_seen_where_haze_is_densest_and_taken_from_the_prior_where_there_is_none():
    visible, _, t = foggy()
    prior = np.full_like(visible, 0.3)
    zero = np.zeros_like(t)
    seen = np.asarray(scattering.seen_air(visible, t, prior, zero))
    np.testing.assert_allclose(seen[:, :6], 0.8, atol=0.06)
    np.testing.assert_allclose(seen[:, -6:], 0.3, atol=0.02)
    less = scattering.seen_air(visible, t, prior, zero - 3)[:, 0]
    assert 0.5 < np.min(less) and np.max(less) < np.min(seen[:, 0])
    alike = scattering.seen_air(np.full_like(visible, 0.5), zero + 0.3, np.full_like(visible, 0.5), zero)
    np.testing.assert_allclose(alike, 0.5, atol=1e-5)


def test_a_fresh_network_dehazes_by_the_dark_channel(network):
    """Its corrections are 0; the density is that of Eq. 4 and denser where there is more haze."""
    model, parameters = network
    visible, infrared, t = foggy()
    out = jax.jit(model.apply)(parameters, 2 * visible - 1, 2 * infrared[..., None] - 1)
    first, _ = scattering.first_haze(visible)
    explained = guided_filter.local_linear((visible @ np.float32([0.299, 0.587, 0.114]), infrared), first)
    guides = visible @ np.float32([0.299, 0.587, 0.114]), infrared
    expected = jnp.clip(explained[..., 0] * guides[0] + explained[..., 1] * guides[1] + explained[..., 2], 0, 1)
    np.testing.assert_allclose(out["transmission"], expected, atol=1e-4)
    np.testing.assert_allclose(out["haze_density"], 1 - out["transmission"], atol=1e-6)
    assert np.corrcoef(np.ravel(out["haze_density"]), np.ravel(1 - t))[0, 1] > 0.9
    dehazed = scattering.dehaze(visible, out["transmission"], out["airlight"], model.bound)
    np.testing.assert_allclose(0.5 * out["dehazed"] + 0.5, dehazed, atol=1e-4)
    assert np.abs(0.5 * out["dehazed"][:, :6] + 0.5 - 0.8).max() < 0.05  # the sky stays


@pytest.mark.slow
def test_every_weight_is_trained():
    model = build_model(SMALL)
    parameters = jax.jit(model.init)(jax.random.key(0), *smallest_pair(model))
    parameters = jax.tree.map(lambda x: x + 0.02 * np.float32(rng(3).normal(size=x.shape)), parameters)
    visible, infrared, _ = foggy()

    def objective(p):
        out = model.apply(p, 2 * visible - 1, 2 * infrared[..., None] - 1)
        return sum(jnp.square(out[name] - 0.3).mean() for name in ("dehazed", "fused"))

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(objective))(parameters)):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("size", [(48, 64), (75, 131)])
def test_images_in_parts_are_those_of_the_whole_network(network, size, monkeypatch):
    monkeypatch.setattr("iassf_jax.fuse.maps.BAND_PIXELS", 2000)
    model, parameters = network
    visible, infrared = (np.uint8(rng(s).uniform(0, 255, (1, *size, *c))) for s, c in ((4, (3,)), (5, ())))
    parts = MapPredictor(model, parameters)(visible, infrared)
    signed = [np.float32(x) / 127.5 - 1 for x in (visible, infrared[..., None])]
    whole = jax.jit(model.apply)(parameters, *signed)
    np.testing.assert_allclose(parts["haze_density"], whole["haze_density"], atol=1e-4)
    assert parts["dehazed"].shape == parts["fused"].shape == visible.shape


@pytest.mark.parametrize("of_features", [False, True])
def test_the_candidates_are_mixed_by_the_density_of_the_image_or_of_the_features(network, monkeypatch, of_features):
    seen = {}
    monkeypatch.setattr(restoration, "mix_candidates", lambda *args: seen.update(density=args[2]) or args[0])
    visible, infrared, _ = foggy()

    def mixed(parameters):
        out = build_model({**SMALL, "hde_of_features": of_features}).apply(
            parameters, 2 * visible - 1, 2 * infrared[..., None] - 1
        )
        return seen["density"], out["vi_feature"]

    density, features = jax.jit(mixed)(network[1])
    image = 1 - np.asarray(scattering.first_haze(visible)[0]).reshape(1, 24, 2, 32, 2).mean((2, 4))
    expected = haze_density.haze_density(features) if of_features else image
    np.testing.assert_allclose(density, expected, atol=1e-4)


def test_strengths_take_off_less_and_add_less(network):
    predictor = MapPredictor(*network)
    visible, infrared, _ = (np.uint8(255 * x) for x in foggy())
    plain = predictor(visible, infrared, Strengths(dehaze=0.0, infrared=0.0))
    np.testing.assert_allclose(plain["dehazed"].astype(int), visible, atol=1)
    np.testing.assert_allclose(plain["fused"].astype(int), plain["dehazed"], atol=1)
    far, near = (predictor(visible, infrared, Strengths(t0=t0))["dehazed"].astype(int) for t0 in (0.9, 0.1))
    assert np.abs(far - visible).mean() < 0.5 * np.abs(near - visible).mean()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"working_size": 0}, "working_size is 0"),
        ({"bound": 0.0}, "bound is 0.0"),
        ({"patch": 0}, "patch"),
        ({"hde_of_features": True, "without_hde": True}, "hde_of_features"),
        ({"hde_of_features": True, "reconstruction": "soft", "working_size": 0, "patch": 1}, "hde_of_features"),
    ],
)
def test_settings_that_make_no_network_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        build_model({**SMALL, **changes})


def test_working_shapes_are_multiples_and_never_larger_than_images():
    assert resampling.working_shape(480, 640, 256, 32) == (192, 256)
    assert resampling.working_shape(3000, 4000, 256, 32) == (192, 256)
    assert resampling.working_shape(100, 90, 256, 32) == (96, 96)
    assert resampling.working_shape(5, 3, 256, 32) == (32, 32)


def test_infrared_never_darkens_a_bright_sky(network):
    model, parameters = network
    visible, infrared, _ = foggy()
    infrared[:, :12] = 0.02
    images = 2 * visible - 1, 2 * infrared[..., None] - 1
    out = jax.jit(model.apply)(parameters, *images)
    assert np.min(out["fused"][:, :10] - jnp.clip(out["dehazed"][:, :10], -1, 1)) > -0.02


def test_a_warm_road_keeps_its_brightness_and_a_person_on_a_cold_one_is_as_bright_as_he_was():
    road, person = np.zeros((2, 1, 48, 64), np.float32)
    road[:, 24:] = 0.95
    person[:, 20:26, 30:33] = 0.95

    def added(level, infrared):
        """Of infrared excess over an even image; where it is warm."""
        image = np.full((1, 48, 64, 3), level, np.float32)
        share = brightening.kept_highlights(image, infrared)
        wanted = brightening.wanted_luma(image, infrared, share - 1, np.zeros_like(infrared))
        return np.asarray(wanted - level)[infrared > 0]

    assert added(0.45, road).max() < 0.25 and added(0.45, road).min() > 0.02
    np.testing.assert_allclose(added(0.7, person), 0.25, atol=1e-6)
    np.testing.assert_allclose(added(0.1, person), 0.85, atol=1e-6)  # and by night
    assert added(0.1, road).min() > 0.35


def test_a_colour_grows_with_its_luma_but_not_what_haze_left_of_it():
    image = np.full((1, 1, 2, 3), (0.1, 0.14, 0.22), np.float32)
    luma, t = brightening.luma(image), np.array([[[1.0, 0.3]]], np.float32)
    fused = brightening.brighten(image, *brightening.brightening(image, 2 * luma, t))
    differences = np.ptp(np.asarray(fused)[0, 0], axis=-1)
    np.testing.assert_allclose(differences, (0.24, 0.12), atol=1e-5)
    assert (brightening.luma(fused) > 1.6 * luma).all()


def test_a_fresh_network_keeps_highlights(network):
    model, parameters = network
    visible, infrared, _ = foggy()
    infrared[:, 24:] = 0.98
    out = jax.jit(model.apply)(parameters, 2 * visible - 1, 2 * infrared[..., None] - 1)
    fused, dehazed = (0.5 * np.asarray(out[name])[:, 30:].mean() + 0.5 for name in ("fused", "dehazed"))
    assert dehazed < fused < 0.75
