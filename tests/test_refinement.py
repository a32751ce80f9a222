"""Changes that follow the edges of images: the fast guided filter, and networks that use it."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from iassf_jax.errors import UserError
from iassf_jax.models import build_model
from iassf_jax.models.refinement import EPSILON, STRIDE, follow_edges

filtered = jax.jit(follow_edges, static_argnums=2)


def images(height, width, channels, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (height, width, channels)).astype(np.float32)


def by_windows(changes, guides, radius):
    """He and Sun's algorithm window by window, each a ridge regression."""
    height, width = changes.shape[0] // STRIDE, changes.shape[1] // STRIDE
    small_changes, small_guides = (
        x.reshape(height, STRIDE, width, STRIDE, -1).mean(axis=(1, 3), dtype=np.float64) for x in (changes, guides)
    )
    r = radius // STRIDE
    pads = ((r, r), (r, r), (0, 0))
    changes_around, guides_around = (np.pad(x, pads, mode="symmetric") for x in (small_changes, small_guides))
    found = np.zeros((height, width, guides.shape[-1] + 1, changes.shape[-1]))
    for y, x in np.ndindex(height, width):
        window = np.s_[y : y + 2 * r + 1, x : x + 2 * r + 1]
        g, c = (z[window].reshape(-1, z.shape[-1]) for z in (guides_around, changes_around))
        covariance = (g - g.mean(0)).T @ (g - g.mean(0)) / len(g) + EPSILON * np.eye(g.shape[1])
        slopes = np.linalg.solve(covariance, (g - g.mean(0)).T @ (c - c.mean(0)) / len(g))
        found[y, x] = np.concatenate([slopes, [c.mean(0) - g.mean(0) @ slopes]])
    padded = np.pad(found, (*pads, (0, 0)), mode="symmetric")
    shifts = [padded[a : a + height, b : b + width] for a in range(2 * r + 1) for b in range(2 * r + 1)]
    smooth = np.mean(shifts, axis=0).reshape(height, width, -1)
    full = [
        cv2.resize(smooth[..., k], changes.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        for k in range(smooth.shape[-1])
    ]
    full = np.stack(full, axis=-1).reshape(*changes.shape[:2], *found.shape[2:])
    return np.einsum("hwg,hwgc->hwc", guides, full[..., :-1, :]) + full[..., -1, :]


@pytest.mark.parametrize(("count", "radius"), [(1, 8), (2, 8), (2, 4), (1, 24)])
def test_it_is_the_fast_guided_filter(count, radius):
    smooth = cv2.GaussianBlur(images(24, 36, 3), (0, 0), 3)
    guides = cv2.GaussianBlur(images(24, 36, 2, 1), (0, 0), 4)[..., :count]
    expected = by_windows(smooth, guides, radius)
    np.testing.assert_allclose(filtered(smooth[None], guides[None], radius)[0], expected, atol=1e-4)


def test_a_lattice_goes_where_the_guides_are_flat_and_their_textures_stay():
    y, x = np.mgrid[:64, :64]
    lattice = ((x % 2) + (y % 4 == 0)).astype(np.float32)[None, ..., None]
    flat = np.zeros((1, 64, 64, 1), np.float32)
    np.testing.assert_allclose(filtered(lattice, flat, 8), np.full_like(lattice, lattice.mean()), atol=1e-5)
    guide = cv2.GaussianBlur(images(64, 64, 1), (0, 0), 2)[None, ..., None] * 4
    found = filtered(0.5 * guide + lattice, guide, 8)
    assert np.abs(found - (0.5 * guide + lattice.mean())).mean() < 0.1 * np.abs(guide).mean()


def test_a_tile_is_filtered_as_the_whole_image():
    """But for a margin of two windows: nothing is of the whole image. Tiles overlap by more."""
    changes, guides = (cv2.GaussianBlur(images(128, 160, n, n), (0, 0), 2)[None] for n in (5, 2))
    whole = filtered(changes, guides, 8)[:, 32:, 64:]
    tile = filtered(*(x[:, 32:, 64:] for x in (changes, guides)), 8)
    np.testing.assert_allclose(tile[:, 24:, 24:], whole[:, 24:, 24:], atol=1e-4)
    assert np.abs(tile - whole).max() > 1e-3


def test_what_spills_over_an_edge_comes_back_to_it():
    step = np.zeros((1, 32, 64, 1), np.float32)
    step[:, :, 32:] = 1
    spilt = cv2.blur(step[0, ..., 0], (9, 9))[None, ..., None]
    found = filtered(spilt, step, 8)
    assert np.abs(found - step).max() < 0.45 * np.abs(spilt - step).max()


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1))
def size_and_gradients(changes, guides):
    return jnp.square(follow_edges(changes, guides, 8)).sum()


def test_equal_flat_and_tiny_guides_give_finite_images_and_gradients():
    guide = images(8, 12, 1)[None]
    for guides in (np.concatenate([guide, guide], -1), np.ones((1, 8, 12, 2), np.float32), guide[:, :4, :4]):
        changes = images(*guides.shape[1:3], 5)[None]
        value, gradients = size_and_gradients(changes, guides)
        assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)


def test_twice_the_same_guide_is_one():
    guide = cv2.GaussianBlur(images(40, 40, 1), (0, 0), 2)[None, ..., None] * 3
    changes = images(40, 40, 2, 1)[None]
    twice = filtered(changes, np.concatenate([guide, guide], -1), 8)
    np.testing.assert_allclose(twice, filtered(changes, guide, 8), atol=2e-3)


def network(**settings):
    model = build_model({**tiny.get_config().model.to_dict(), "reconstruction": "soft", **settings})
    visible, infrared = images(20, 12, 3)[None], images(20, 12, 1, 1)[None]
    return model, jax.jit(model.init)(jax.random.key(0), visible, infrared), (visible, infrared)


def test_a_network_follows_the_edges_of_its_images():
    """The hazy one's in the dehazed image, the infrared one's in the fused one. The parameters are the same."""
    model, parameters, pair = network()
    refined, again, _ = network(refine_radius=8)
    assert jax.tree.map(jnp.shape, parameters) == jax.tree.map(jnp.shape, again)
    rng = np.random.default_rng(3)
    for module in ("ia_frm", "mspe_fm"):
        to_image = parameters["params"][module]["to_image"]
        to_image["kernel"] = jnp.asarray(rng.normal(0, 0.1, to_image["kernel"].shape), jnp.float32)
    before, after = (jax.jit(m.apply)(parameters, *pair) for m in (model, refined))
    for name in before:
        same = name not in ("dehazed", "fused")
        assert (np.abs(before[name] - after[name]).max() < 1e-6) == same, name
    odd = jax.jit(refined.apply)(parameters, *(x[:, :18, :11] for x in pair))
    assert odd["fused"].shape == (1, 18, 11, 3) and np.isfinite(odd["fused"]).all()
    # Grey images have no edges: changes are all but their means over the windows, and these overlap.
    smooth, rough = (jax.jit(m.apply)(parameters, 0 * pair[0], 0 * pair[1] - 1) for m in (refined, model))
    for part in (lambda x: x["dehazed"], lambda x: x["fused"] - x["dehazed"]):
        assert np.abs(np.diff(part(smooth), axis=1)).mean() < 0.7 * np.abs(np.diff(part(rough), axis=1)).mean()


def test_wrong_settings_are_one_line():
    for radius in (-4, 6):
        with pytest.raises(UserError, match=rf"model\.refine_radius is {radius}: use 0 \(off\) or a multiple of 4"):
            network(refine_radius=radius)
    with pytest.raises(UserError, match=r'model\.refine_radius is of model\.reconstruction="soft"'):
        network(refine_radius=8, reconstruction="direct")
