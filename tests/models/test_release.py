"""The authors' released network: its blocks, its haze estimator, and its numbers."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import released
from iassf_jax.errors import UserError
from iassf_jax.evaluate import cost
from iassf_jax.losses import paper_loss
from iassf_jax.models import build_model
from iassf_jax.models.layers import resize_bilinear_aligned
from iassf_jax.models.release.dehazeformer import (
    PositionBias,
    RescaleLayerNorm,
    SKFusion,
    relative_positions,
    window_attention,
)
from iassf_jax.models.release.haze import channel_mean, extremes, release_haze_density, to_levels
from iassf_jax.weights.torch_names import to_torch

SMALL = {"name": "iassf_release", "depths": (1, 2, 2, 0, 1), "prompt_size": 5}


def test_parameters_and_cost_are_those_of_the_release():
    """11,198,576 parameters, of which 1,154 are never used; 17.3 GMAC were measured on theirs."""
    assert sum(cost.parameters(released.MODEL).values()) == 11_198_576 - 1_154
    assert sum(cost.multiply_adds(released.MODEL).values()) == pytest.approx(17.3e9, rel=0.01)


@pytest.mark.parametrize("name", ["eval_64x96", pytest.param("eval_128x128", marks=pytest.mark.slow)])
def test_gives_the_numbers_of_the_release(golden, name):
    pair, expected = released.reference(golden, name)
    apply = jax.jit(released.MODEL.apply)
    end_to_end = apply(released.parameters(), pair["hazy"], pair["ir"])
    given_density = apply(released.parameters(), pair["hazy"], pair["ir"], expected["fog"])
    for stage in ("vi_feature", "ir_embedded", "ir_rgb", "dehazed", "fused"):
        assert relative_error(given_density[stage], expected[stage]) < 5e-6, stage
    # From the images on, a level of the estimator may flip: 5 of 16,384 pixels of the larger image, 1.2e-4 of dehazed.
    assert relative_error(end_to_end["haze_density"], expected["fog"]) < 1e-2
    for stage in ("dehazed", "fused"):
        error = np.abs(end_to_end[stage] - expected[stage]) / np.abs(expected[stage]).max()
        assert error.max() < 5e-4, stage
        assert (error > 1e-4).mean() < 1e-3, stage


@pytest.mark.parametrize("name", ["eval_64x96", "eval_128x128", "train_64x64"])
def test_haze_density_of_given_features_is_exact(golden, name):
    _, expected = released.reference(golden, name)
    assert relative_error(jax.jit(release_haze_density)(expected["vi_feature"]), expected["fog"]) < 1e-6


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_the_release(golden):
    pair, _ = released.reference(golden, "train_64x64")
    expected = json.loads((golden / "release" / "train_64x64_loss.json").read_text())

    def objective(parameters):
        out = released.MODEL.apply(parameters, pair["hazy"], pair["ir"])
        return paper_loss(out["dehazed"], out["fused"], pair["gt"], pair["ir"])

    gradients, terms = jax.jit(jax.grad(objective, has_aux=True))(released.parameters())
    assert float(terms["loss"]) == pytest.approx(expected["total"], rel=1e-5)
    assert 2 * float(terms["l1"]) == pytest.approx(expected["dehaze_l1_times_2"], rel=1e-5)
    assert float(terms["intensity"]) == pytest.approx(expected["intensity"], rel=1e-5)
    assert float(terms["gradient"]) == pytest.approx(expected["gradient"], rel=1e-5)
    norms = expected["grad_l2_norm"]
    for name, gradient in to_torch(released.entries(), gradients).items():
        # A constant added to all logits changes nothing: what those biases get is rounding, on both sides.
        limit = 1e-6 if name.endswith("meta.2.bias") else 0
        assert np.linalg.norm(gradient.astype(np.float64)) == pytest.approx(norms.pop(name), rel=1e-3, abs=limit), name
    assert not any(norms.values()), "a tensor that we leave out has a gradient there"


@pytest.fixture(scope="module")
def small():
    model = build_model(SMALL)
    parameters = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8, 8, 1)))
    return parameters, jax.jit(model.apply)


@pytest.mark.parametrize("size", [(1, 1), (13, 18)])
def test_any_size(small, size):
    parameters, apply = small
    rng = np.random.default_rng(0)
    visible, infrared = (rng.uniform(-1, 1, (2, *size, c)).astype(np.float32) for c in (3, 1))
    out = apply(parameters, visible, infrared)
    assert out["fused"].shape == out["dehazed"].shape == out["ir_rgb"].shape == (2, *size, 3)
    assert out["haze_density"].shape == (2, *size)
    assert all(np.isfinite(x).all() for x in out.values())
    alone = apply(parameters, visible[1:], infrared[1:])
    np.testing.assert_allclose(alone["fused"], out["fused"][1:], atol=1e-4)


@pytest.mark.parametrize("settings, words", [({"depths": (1, 2)}, "five"), ({"prompt_size": 0}, "prompt_size")])
def test_impossible_settings(settings, words):
    with pytest.raises(UserError, match=words):
        build_model({"name": "iassf_release", **settings})


def plain_haze_density(features):
    """The estimator's definition for one image, with OpenCV, in float64; 24 channels are added in PyTorch's order."""
    total = features[..., 0].copy()
    for i in range(1, 16):
        total += features[..., i]
    rest = features[..., 16].copy()
    for i in range(17, 24):
        rest += features[..., i]
    mean = (rest + total) / np.float32(24)
    guide = ((mean - mean.min()) / (mean.max() - mean.min() + np.float32(1e-8)) * np.float32(255)).astype(
        np.uint8
    ) / 255.0
    transmission = 1 - 0.95 * cv2.erode(guide, np.ones((15, 15)), borderType=cv2.BORDER_CONSTANT, borderValue=np.inf)

    def box(x):
        x = np.pad(x, ((30, 29), (30, 29)), "reflect")
        sums = np.cumsum(np.cumsum(np.pad(x, ((1, 0), (1, 0))), axis=0), axis=1)
        return (sums[60:, 60:] - sums[:-60, 60:] - sums[60:, :-60] + sums[:-60, :-60]) / 3600

    slope = (box(guide * transmission) - box(guide) * box(transmission)) / (box(guide**2) - box(guide) ** 2 + 1e-4)
    return 1 - (box(slope) * guide + box(box(transmission) - slope * box(guide)))


@pytest.mark.parametrize("size", [(20, 33), (70, 64), (7, 90)])
def test_haze_density_is_its_definition(size):
    rng = np.random.default_rng(1)
    smooth = cv2.GaussianBlur(rng.standard_normal((*size, 3)).astype(np.float32), (0, 0), 4)
    features = np.repeat(smooth, 8, axis=2) + 0.02 * rng.standard_normal((*size, 24)).astype(np.float32)
    density = jax.jit(release_haze_density)(features[None])
    # A GPU's own divisions and roots turn the rounding of a few values to 256 levels the other way.
    limit = 1e-6 if jax.default_backend() == "cpu" else 5e-3
    assert relative_error(density[0], plain_haze_density(features)) < limit


def test_levels_of_a_constant_image_and_at_the_extremes():
    def levels_of(features):
        mean = channel_mean(features)
        return to_levels(mean, *extremes(mean))

    assert (levels_of(jnp.full((1, 4, 4, 24), 3.0)) == 0).all()
    levels = levels_of(jnp.zeros((1, 2, 2, 24)).at[0, 0, 0].set(1.0).at[0, 0, 1].set(0.5))
    np.testing.assert_array_equal(levels[0], [[255, 127], [0, 0]])


def test_no_gradient_flows_through_the_estimator():
    features = jax.random.normal(jax.random.key(0), (1, 9, 9, 24))
    assert (jax.jit(jax.grad(lambda x: release_haze_density(x).sum()))(features) == 0).all()


def plain_window_attention(qkv, bias, shift):
    """Pixel by pixel, over the mirrored image."""
    height, width, channels = *qkv.shape[:2], qkv.shape[2] // 3
    padded = np.pad(qkv, ((shift, 16), (shift, 16), (0, 0)), "reflect")
    size = channels // len(bias)
    out = np.zeros((height, width, channels))
    for y in range(height):
        for x in range(width):
            top, left = (y + shift) // 8 * 8, (x + shift) // 8 * 8
            window = padded[top : top + 8, left : left + 8].reshape(64, 3, len(bias), size)
            here = (y + shift - top) * 8 + x + shift - left
            for head in range(len(bias)):
                logits = window[:, 1, head] @ window[here, 0, head] / np.sqrt(size) + bias[head, here]
                weights = np.exp(logits - logits.max())
                out[y, x, head * size : (head + 1) * size] = weights @ window[:, 2, head] / weights.sum()
    return out


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("size", [(16, 24), (19, 17)])
def test_window_attention_is_its_definition(size, shift):
    rng = np.random.default_rng(2)
    qkv = rng.standard_normal((1, *size, 12)).astype(np.float32)
    bias = rng.standard_normal((2, 64, 64)).astype(np.float32)
    out = jax.jit(window_attention, static_argnums=(1, 3))(qkv, lambda rows: rows, bias, shift)
    np.testing.assert_allclose(out[0], plain_window_attention(qkv[0], bias, shift), atol=1e-5)


def test_position_bias_is_the_two_layers_for_every_pair():
    module = PositionBias(3)
    parameters = module.init(jax.random.key(0))
    p = jax.tree.map(np.asarray, parameters["params"])
    hidden = np.maximum(relative_positions() @ p["meta_0"]["kernel"] + p["meta_0"]["bias"], 0)
    expected = hidden @ p["meta_2"]["kernel"] + p["meta_2"]["bias"]
    np.testing.assert_allclose(module.apply(parameters), expected.transpose(2, 0, 1), atol=1e-5)
    assert relative_positions()[0, 17].tolist() == pytest.approx([-np.log(3), -np.log(2)])


def test_rescale_layer_norm_gives_back_what_it_takes():
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 6, 5, 4))
    module = RescaleLayerNorm()
    parameters = module.init(jax.random.key(1), x)
    norm = module.apply(parameters, x)
    y, rescale, rebias = norm.normalise(x), norm.rescale, norm.rebias
    np.testing.assert_allclose(y.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(1, 2, 3)), 1, atol=1e-4)
    p = parameters["params"]
    std, mean = (np.asarray(f(x, axis=(1, 2, 3))) for f in (jnp.std, jnp.mean))
    np.testing.assert_allclose(rescale[:, 0, 0], 1 + std[:, None] * p["meta1"]["kernel"][0][None], atol=1e-4)
    np.testing.assert_allclose(rebias[:, 0, 0], mean[:, None] * p["meta2"]["kernel"][0][None], atol=1e-4)


def test_sk_fusion_stays_between_its_inputs():
    a, b = (jax.random.normal(jax.random.key(i), (1, 4, 4, 16)) for i in (0, 1))
    out, _ = SKFusion().init_with_output(jax.random.key(2), a, b)
    assert (out <= jnp.maximum(a, b) + 1e-6).all() and (out >= jnp.minimum(a, b) - 1e-6).all()
    same, _ = SKFusion().init_with_output(jax.random.key(2), a, a)
    np.testing.assert_allclose(same, a, atol=1e-6)


@pytest.mark.parametrize("old, new", [(5, 9), (9, 5), (1, 4), (4, 1), (6, 6)])
def test_aligned_resize_is_linear_interpolation_between_the_corners(old, new):
    x = np.random.default_rng(3).standard_normal((1, old, 3, 2)).astype(np.float32)
    at = np.linspace(0, old - 1, new) if new > 1 else np.zeros(1)
    expected = [[np.interp(at, np.arange(old), x[0, :, j, c]) for c in range(2)] for j in range(3)]
    out = resize_bilinear_aligned(jnp.asarray(x), (new, 3))
    np.testing.assert_allclose(out[0], np.array(expected).transpose(2, 0, 1), atol=1e-6)


@pytest.mark.slow
def test_bfloat16_stays_near_float32(small):
    parameters, apply = small
    rng = np.random.default_rng(0)
    visible, infrared = (rng.uniform(-1, 1, (1, 16, 16, c)).astype(np.float32) for c in (3, 1))
    density = jnp.full((1, 16, 16), 0.5)
    low = jax.jit(build_model({**SMALL, "dtype": "bfloat16"}).apply)(parameters, visible, infrared, density)
    full = apply(parameters, visible, infrared, density)
    for name in ("dehazed", "fused"):
        assert low[name].dtype == jnp.float32
        error = np.abs(low[name] - full[name]).mean() / np.abs(full[name]).mean()
        assert 1e-5 < error < 0.1, name


def relative_error(value, expected):
    return float(np.abs(np.asarray(value) - expected).max() / np.abs(expected).max())
