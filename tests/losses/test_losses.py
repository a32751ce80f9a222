"""Losses against numbers worked out by hand and against the authors' release."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from configs import haze
from iassf_jax.losses import ours, paper
from iassf_jax.models.scattering import bounded_clear, dehaze

SETTINGS = {**haze.get_config().loss, "bound": 0.1}


def test_sobel_of_a_ramp():
    """Columns 0, 1, 2, 3: inside, Sobel_x gives (1 + 2 + 1) * 2 = 8 and Sobel_y 0."""
    ramp = jnp.tile(jnp.arange(4.0).reshape(1, 1, 4, 1), (1, 5, 1, 1))
    magnitude = paper.sobel_magnitude(ramp)[0, :, :, 0]
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
    loss, terms = paper.paper_loss(dehazed, fused, visible, infrared, alpha=2.0)
    # max = (0.375, 0.375, 0.5): |0.125| + |-0.625| + |-0.5| = 1.25 over 3.
    assert terms["intensity"] == pytest.approx(1.25 / 3)
    assert terms["gradient"] == 0.0
    # |-0.25| + 0 + |0.5| = 0.75 over 3.
    assert terms["l1"] == pytest.approx(0.25)
    assert loss == pytest.approx(1.25 / 3 + 2 * 0.25)
    assert terms["loss"] == loss


def test_gradient_takes_the_stronger_edge():
    """A 1-wide step in the infrared (strength 2) and none in the visible: a flat fused image misses all of it."""
    infrared = jnp.zeros((1, 1, 3, 1)).at[0, 0, 1, 0].set(1.0)
    flat = jnp.zeros((1, 1, 3, 3))
    # One row, zeros outside: Sobel_x at the neighbours is +2 and -2, at the centre 0; Sobel_y at every pixel 0.
    assert paper.gradient_loss(flat, flat, jnp.broadcast_to(infrared, flat.shape)) == pytest.approx(4 / 3)


def test_terms_of_the_release(golden):
    """Values and outputs of the authors' network, PyTorch 2.13 on a CPU (its loss is Eq. 6-9 with alpha 2)."""
    values = np.load(golden / "release" / "train_64x64.npz")
    expected = json.loads((golden / "release" / "train_64x64_loss.json").read_text())
    dehazed, fused = (jnp.asarray(values[name].transpose(0, 2, 3, 1)) for name in ("dehazed", "fused"))
    visible, infrared = (jnp.asarray(values[name][None] / 127.5 - 1, jnp.float32) for name in ("gt_u8", "ir_u8"))
    loss, terms = paper.paper_loss(dehazed, fused, visible, infrared)
    assert loss == pytest.approx(expected["total"], rel=1e-6)
    assert 2 * terms["l1"] == pytest.approx(expected["dehaze_l1_times_2"], rel=1e-6)
    assert terms["intensity"] == pytest.approx(expected["intensity"], rel=1e-6)
    assert terms["gradient"] == pytest.approx(expected["gradient"], rel=1e-6)


def hazy_batch(seed=0, size=12):
    rng = np.random.default_rng(seed)
    clear, infrared = (jnp.asarray(rng.uniform(0, 1, (2, size, size, c)), jnp.float32) for c in (3, 1))
    t, light = (jnp.asarray(rng.uniform(0.02, 1, shape), jnp.float32) for shape in ((2, size, size), (2, 1, 1, 3)))
    light = jnp.broadcast_to(light, clear.shape)
    hazy = clear * t[..., None] + light * (1 - t[..., None])
    return {
        "clear": 2 * clear - 1, "infrared": 2 * infrared - 1, "hazy": 2 * hazy - 1, "transmission": t, "airlight": light
    }  # fmt: skip


def test_right_maps_leave_no_loss_of_the_dehazed_image():
    """Its target is what the bounded inversion gives; the fused target needs no infrared where that is dark."""
    batch = {**hazy_batch(), "infrared": jnp.full((2, 12, 12, 1), -1.0)}
    dehazed = dehaze(0.5 * batch["hazy"] + 0.5, batch["transmission"], batch["airlight"], 0.1)
    wanted = bounded_clear(0.5 * batch["clear"] + 0.5, batch["transmission"], batch["airlight"], 0.1)
    out = {"dehazed": 2 * dehazed - 1, "fused": 2 * wanted - 1, **{k: batch[k] for k in ("transmission", "airlight")}}
    _, terms = ours.haze_loss(out, batch, **{**SETTINGS, "hidden": 0.0})
    assert {name: float(x) for name, x in terms.items()} == pytest.approx(dict.fromkeys(terms, 0), abs=1e-5)


def test_terms_of_wrong_maps_by_hand():
    batch = hazy_batch()
    out = {"dehazed": batch["clear"], "fused": batch["clear"], "transmission": jnp.full((2, 12, 12), 0.5),
           "airlight": batch["airlight"] + 0.1}  # fmt: skip
    loss, terms = ours.haze_loss(out, batch, **{**SETTINGS, "alpha": 3.0, "beta": 0.5, "airlight": 0.7})
    true_t = np.maximum(np.asarray(batch["transmission"]), 0.05)
    assert terms["transmission"] == pytest.approx(np.abs(np.log(0.5) - np.log(true_t)).mean(), rel=1e-5)
    density = float((1 - batch["transmission"]).mean())
    assert terms["airlight"] == pytest.approx(0.1 * density / (density + 1e-3), rel=1e-4)
    parts = (1.0, 0.5, 3.0, 0.2, 0.7)
    names = ("intensity", "gradient", "l1", "transmission", "airlight")
    assert loss == pytest.approx(sum(w * float(terms[n]) for w, n in zip(parts, names, strict=True)), rel=1e-5)


def test_infrared_enters_the_target_where_haze_hides_the_scene_and_not_elsewhere():
    batch = hazy_batch()
    stripes = jnp.tile(jnp.array([-0.4, 0.4]).reshape(1, 1, 2, 1), (2, 12, 6, 1))
    clear = jnp.full((2, 12, 12, 3), 0.6)
    out = {"dehazed": clear, "fused": clear, "airlight": jnp.full((2, 12, 12, 3), 0.8)}
    lost = {}
    for t in (0.01, 0.9):
        maps = {"transmission": jnp.full((2, 12, 12), t), "airlight": out["airlight"]}
        _, terms = ours.haze_loss({**out, **maps}, {**batch, **maps, "clear": clear, "infrared": stripes}, **SETTINGS)
        lost[t] = float(terms["gradient"])
    assert lost[0.01] > 0.1 and lost[0.9] < 1e-5
