"""Losses against numbers worked out by hand and against the authors' release."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iassf_jax import losses
from iassf_jax.metrics.qcv import q_cv


def test_sobel_of_a_ramp():
    """Columns 0, 1, 2, 3: inside, Sobel_x gives (1 + 2 + 1) * 2 = 8 and Sobel_y 0."""
    ramp = jnp.tile(jnp.arange(4.0).reshape(1, 1, 4, 1), (1, 5, 1, 1))
    magnitude = losses.sobel_magnitude(ramp)[0, :, :, 0]
    np.testing.assert_array_equal(magnitude[1:-1, 1:-1], 8.0)
    # Corner (0, 0), zeros outside: x: 2*1 + 1*1 = 3; y: -(2*0 + 1*1) = -1; |3| + |-1| = 4.
    assert magnitude[0, 0] == 4.0
    # Middle of the top row (0, 1): x: 2*2 + 1*2 - 0 = 6; y: -(0 + 2*1 + 2) = -4.
    assert magnitude[0, 1] == 10.0


def test_terms_by_hand():
    """1x1 images, so that Sobel is 0 everywhere and each mean is over three channels."""
    fused = jnp.array([0.5, -0.25, 0.0]).reshape(1, 1, 1, 3)
    visible = jnp.array([0.25, -1.0, 0.5]).reshape(1, 1, 1, 3)
    infrared = jnp.full((1, 1, 1, 1), 0.375)
    dehazed = jnp.array([0.0, -1.0, 1.0]).reshape(1, 1, 1, 3)
    loss, terms = losses.paper_loss(dehazed, fused, visible, infrared, alpha=2.0)
    # max = (0.375, 0.375, 0.5): |0.125| + |-0.625| + |-0.5| = 1.25 over 3.
    assert terms["intensity"] == pytest.approx(1.25 / 3)
    assert terms["gradient"] == 0.0
    # |-0.25| + 0 + |0.5| = 0.75 over 3.
    assert terms["l1"] == pytest.approx(0.25)
    assert loss == pytest.approx(1.25 / 3 + 2 * 0.25)
    assert terms["loss"] == loss


def test_the_luma_target_keeps_colour_differences():
    visible = jnp.array([0.2, -0.4, -0.6]).reshape(1, 1, 1, 3)
    brighter, darker = jnp.full((1, 1, 1, 3), 0.3), jnp.full((1, 1, 1, 3), -0.9)
    target = losses.luma_maximum(visible, brighter)
    luma = 0.299 * 0.2 - 0.587 * 0.4 - 0.114 * 0.6
    np.testing.assert_allclose(target, visible + 0.3 - luma, rtol=1e-6)
    np.testing.assert_array_equal(losses.luma_maximum(visible, darker), visible)
    assert losses.luma_maximum(visible, jnp.full((1, 1, 1, 3), 1.0)).max() == 1.0
    assert losses.intensity_loss(target, visible, brighter, "luma") == 0
    assert losses.intensity_loss(target, visible, brighter) > 0.1


def test_chroma_sees_colour_and_nothing_else():
    visible = jnp.array([0.2, -0.4, -0.6]).reshape(1, 1, 1, 3)
    infrared = jnp.full((1, 1, 1, 3), 0.3)
    target = losses.luma_maximum(visible, infrared)
    assert losses.chroma_loss(target - 0.2, visible, infrared) == pytest.approx(0, abs=1e-7)
    grey = jnp.full((1, 1, 1, 3), 0.1)
    luma = 0.299 * 0.2 - 0.587 * 0.4 - 0.114 * 0.6
    expected = (abs(0.2 - luma) + abs(-0.4 - luma) + abs(-0.6 - luma)) / 3
    assert losses.chroma_loss(grey, visible, infrared) == pytest.approx(expected, rel=1e-5)
    four = (visible, grey, visible, infrared)
    plain, _ = losses.paper_loss(*four, target="luma")
    loss, terms = losses.paper_loss(*four, target="luma", chroma=5.0)
    assert loss == pytest.approx(float(plain) + 5 * expected, rel=1e-5) and terms["chroma"] > 0
    assert "chroma" not in losses.paper_loss(*four)[1]


def test_gradient_takes_the_stronger_edge():
    """A 1-wide step in the infrared (strength 2) and none in the visible: a flat fused image misses all of it."""
    infrared = jnp.zeros((1, 1, 3, 1)).at[0, 0, 1, 0].set(1.0)
    flat = jnp.zeros((1, 1, 3, 3))
    # One row, zeros outside: Sobel_x at the neighbours is +2 and -2, at the centre 0; Sobel_y at every pixel 0.
    assert losses.gradient_loss(flat, flat, jnp.broadcast_to(infrared, flat.shape)) == pytest.approx(4 / 3)


def test_the_signed_gradient_is_met_by_the_stronger_edge_itself():
    """A step of 2 up in the infrared image, of 1 down in the visible one: mirrored it is as strong, and twice off."""
    step = jnp.tile(jnp.array([0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 4, 1), (1, 3, 1, 3))
    visible, infrared = -0.5 * step, step
    assert losses.signed_gradient_loss(infrared - 0.3, visible, infrared) == pytest.approx(0, abs=1e-6)
    # Sobel_x of the step is 4 at two of the four columns: |4 - -4| there; the visible one's is -2: |4 - -2|.
    assert losses.signed_gradient_loss(-step, visible, infrared) == pytest.approx(4, rel=1e-5)
    assert losses.signed_gradient_loss(visible, visible, infrared) == pytest.approx(3, rel=1e-5)
    four = (visible, visible, visible, infrared)
    loss, terms = losses.paper_loss(*four, gradient="signed", beta=0.5)
    assert terms["gradient"] == pytest.approx(3, rel=1e-5)
    assert loss == pytest.approx(float(terms["intensity"]) + 1.5, rel=1e-5)


def test_the_target_of_both_feels_the_darker_one():
    """Greys of two pixels: brighter 0.4, 0.2 and darker 0.0, -0.2, whose mean is -0.1."""
    visible = jnp.tile(jnp.array([0.4, -0.2]).reshape(1, 1, 2, 1), (1, 1, 1, 3))
    infrared = jnp.tile(jnp.array([0.0, 0.2]).reshape(1, 1, 2, 1), (1, 1, 1, 3))
    wanted = [0.4 + 0.12 * 0.1, 0.2 - 0.12 * 0.1]
    np.testing.assert_allclose(losses.luma_of_both(visible, infrared)[0, 0, :, 1], wanted, rtol=1e-5)
    red = visible + jnp.array([0.2, 0.0, 0.0]).reshape(1, 1, 1, 3)
    found = losses.luma_of_both(red, infrared)
    np.testing.assert_allclose(found[..., 0] - found[..., 1], 0.2, rtol=1e-5)


def grey_images(rng, count=3, height=40, width=56):
    """uint8[count, H, W] with coarse and fine structure, from 0 to 255."""
    coarse = np.repeat(np.repeat(rng.uniform(0, 200, (count, height // 8, width // 8)), 8, axis=1), 8, axis=2)
    images = np.uint8(coarse + rng.uniform(0, 50, (count, height, width)))
    images[:, 0, 0], images[:, -1, -1] = 0, 255
    return images


def test_the_perceived_loss_is_the_root_of_q_cv():
    images = grey_images(np.random.default_rng(0))
    fused, visible, infrared = (jnp.asarray(x[None, ..., None] / 127.5 - 1, jnp.float32) for x in images)
    fused, visible = (jnp.tile(x, (1, 1, 1, 3)) for x in (fused, visible))
    expected = float(q_cv(*(images[[i]] for i in (0, 2, 1)))[0])
    assert losses.perceived_loss(fused, visible, infrared) == pytest.approx(expected**0.5, rel=1e-4)
    # Other extremes are the same image to it, as long as nothing is clipped.
    assert losses.perceived_loss(0.5 * fused + 0.2, visible, infrared) == pytest.approx(expected**0.5, rel=1e-4)
    four = (visible, fused, visible, infrared)
    plain, without = losses.paper_loss(*four)
    loss, terms = losses.paper_loss(*four, perceived=0.5)
    assert loss == pytest.approx(float(plain) + 0.5 * expected**0.5, rel=1e-4)
    assert "perceived" in terms and "perceived" not in without


def test_the_perceived_loss_falls_along_its_gradient_and_is_nothing_without_edges():
    images = grey_images(np.random.default_rng(1))
    fused, visible, infrared = (jnp.tile(jnp.float32(x[None, ..., None] / 127.5 - 1), (1, 1, 1, 3)) for x in images)
    value, slope = jax.value_and_grad(losses.perceived_loss)(fused, visible, infrared)
    assert losses.perceived_loss(fused - 0.5 * slope, visible, infrared) < value - 0.1 * jnp.square(slope).sum()
    flat = jnp.full_like(fused, -1.0)  # zeros after stretching, and none beyond the borders
    value, slope = jax.value_and_grad(losses.perceived_loss)(fused, flat, flat)
    assert value == 0 and not np.any(slope)


def test_terms_of_the_release(golden):
    """Values and outputs of the authors' network, PyTorch 2.13 on a CPU (its loss is Eq. 6-9 with alpha 2)."""
    values = np.load(golden / "release" / "train_64x64.npz")
    expected = json.loads((golden / "release" / "train_64x64_loss.json").read_text())
    dehazed, fused = (jnp.asarray(values[name].transpose(0, 2, 3, 1)) for name in ("dehazed", "fused"))
    visible, infrared = (jnp.asarray(values[name][None] / 127.5 - 1, jnp.float32) for name in ("gt_u8", "ir_u8"))
    loss, terms = losses.paper_loss(dehazed, fused, visible, infrared)
    assert loss == pytest.approx(expected["total"], rel=1e-6)
    assert 2 * terms["l1"] == pytest.approx(expected["dehaze_l1_times_2"], rel=1e-6)
    assert terms["intensity"] == pytest.approx(expected["intensity"], rel=1e-6)
    assert terms["gradient"] == pytest.approx(expected["gradient"], rel=1e-6)
