"""The paper's network: shapes, sizes, ablations, gradients, precision, cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from iassf_jax.errors import UserError
from iassf_jax.evaluate import cost
from iassf_jax.models import build_model
from iassf_jax.models.borders import steady_border
from iassf_jax.models.parameters import abstract_parameters
from iassf_jax.models.prompts import PGM

SMALL = tiny.NARROW
# Switch -> top modules that it takes away (all others stay).
REMOVED = {
    "without_ir": {"pgm_ir", "peb_ir"},
    "without_hde": set(),
    "without_p_ir": {"pgm_ir"},
    "without_fr_peb": {"peb_ir"},
    "without_p_vi": {"pgm_vi"},
    "without_fb_peb": set(),
}
TOP = {"encoder", "pgm_ir", "peb_ir", "ia_frm", "pgm_vi", "mspe_fm", "heads"}


def pair(height=16, width=16, batch=1, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.uniform(-1, 1, (batch, height, width, c)), jnp.float32) for c in (3, 1))


def initialised(**changes):
    model = build_model({**SMALL, **changes})
    return model, jax.jit(model.init)(jax.random.key(0), *pair())


def drawn(**changes):
    """A network with random parameters, none of which is zero, without the ten seconds of compiling its own start."""
    model, rng = build_model({**SMALL, **changes}), np.random.default_rng(0)

    def draw(x):
        return jnp.asarray(rng.normal(0, np.prod(x.shape[:-1]) ** -0.5, x.shape), x.dtype)

    return model, jax.tree.map(draw, abstract_parameters(model))


def all_gradients(model, parameters):
    def objective(p):
        out = model.apply(p, *pair(batch=2))
        return sum(jnp.square(out[name] - 0.3).mean() for name in ("dehazed", "fused"))

    return jax.jit(jax.grad(objective))(parameters)


def assert_alive(model, parameters):
    for path, gradient in jax.tree_util.tree_leaves_with_path(all_gradients(model, parameters)):
        assert np.isfinite(gradient).all(), jax.tree_util.keystr(path)
        assert np.abs(gradient).max() > 0, f"no gradient reaches {jax.tree_util.keystr(path)}"


@pytest.mark.slow
@pytest.mark.parametrize("switch", [None, *REMOVED])
def test_switch_removes_what_it_says_and_nothing_is_dead(switch):
    model, parameters = drawn(**({switch: True} if switch else {}))
    assert set(parameters["params"]) == TOP - (REMOVED[switch] if switch else set())
    names = {"/".join(str(k.key) for k in path) for path, _ in jax.tree_util.tree_leaves_with_path(parameters)}
    assert any("/peb/" in n for n in names) == (switch != "without_fb_peb")
    assert any("/prompt2/" in n for n in names) == (switch != "without_p_vi")
    out = jax.eval_shape(model.apply, parameters, *pair())
    assert ("haze_density" in out) == (switch not in ("without_hde", "without_ir"))
    assert ("prompt_weights_ir" in out) == (switch not in ("without_ir", "without_p_ir"))
    assert_alive(model, parameters)


@pytest.mark.parametrize("blocks", [1, 5, 7])
def test_number_of_fusion_blocks(blocks):
    fusion = abstract_parameters(build_model({**SMALL, "fusion_blocks": blocks}))["params"]["mspe_fm"]
    assert {f"block{k + 1}" for k in range(blocks)} == {n for n in fusion if n.startswith("block")}
    assert sum(n.startswith("down") for n in fusion) == sum(n.startswith("up") for n in fusion) == blocks // 2


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [1, 5, 7])
def test_any_number_of_fusion_blocks_trains_every_weight(blocks):
    assert_alive(*drawn(fusion_blocks=blocks))


@pytest.fixture(scope="module")
def network():
    model, parameters = initialised()
    return model, parameters, jax.jit(model.apply)


def test_without_hde_the_haze_does_not_steer_the_mix(network):
    """With the switch Eq. 5 uses one half everywhere, so the same weights give another image."""
    _, parameters, apply = network
    ablated = build_model({**SMALL, "without_hde": True})
    with_density, without = (
        apply(parameters, *pair())["dehazed"],
        jax.jit(ablated.apply)(parameters, *pair())["dehazed"],
    )
    assert np.abs(with_density - without).max() > 1e-3


def test_without_ir_the_infrared_does_not_touch_the_dehazed_image():
    model, parameters = initialised(without_ir=True)
    apply = jax.jit(model.apply)
    visible, infrared = pair()
    first, second = apply(parameters, visible, infrared), apply(parameters, visible, -infrared)
    np.testing.assert_array_equal(first["dehazed"], second["dehazed"])
    assert np.abs(first["fused"] - second["fused"]).max() > 1e-4


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 18)])
def test_any_size(network, size):
    _, parameters, apply = network
    out = apply(parameters, *pair(*size))
    assert out["fused"].shape == out["dehazed"].shape == (1, *size, 3)
    assert out["haze_density"].shape == (1, *size)
    assert all(np.isfinite(x).all() for x in out.values())


def test_infrared_of_one_and_three_equal_channels_is_the_same(network):
    _, parameters, apply = network
    visible, infrared = pair()
    one, three = apply(parameters, visible, infrared), apply(parameters, visible, jnp.repeat(infrared, 3, axis=-1))
    np.testing.assert_allclose(one["fused"], three["fused"], atol=1e-6)


def test_images_of_a_batch_do_not_mix(network):
    _, parameters, apply = network
    visible, infrared = pair(batch=2)
    both = apply(parameters, visible, infrared)
    alone = apply(parameters, visible[1:], infrared[1:])
    for name in both:
        np.testing.assert_allclose(both[name][1:], alone[name], atol=2e-5, err_msg=name)


def test_bfloat16_computes_low_and_returns_float32(network):
    _, parameters, apply = network
    low = jax.jit(build_model({**SMALL, "dtype": "bfloat16"}).apply)(parameters, *pair())
    full = apply(parameters, *pair())
    # The density is float32 arithmetic on bfloat16 features, whose extremes and brightest pixel scale it.
    for name, limit in (("dehazed", 0.05), ("fused", 0.05), ("haze_density", 0.15)):
        assert low[name].dtype == jnp.float32
        error = np.abs(low[name] - full[name]).mean() / np.abs(full[name]).mean()
        assert 1e-5 < error < limit, name


def test_soft_reconstruction_starts_from_the_images_and_adds_gains_and_changes():
    """Dehazed: I + K I - B; fused: the luma maximum of it and the infrared image, then what the convolutions give."""
    model, parameters = initialised(reconstruction="soft")
    apply = jax.jit(model.apply)
    visible, infrared = pair(18, 13)
    start = apply(parameters, visible, infrared)
    np.testing.assert_array_equal(start["dehazed"], visible)
    maximum = visible + jnp.maximum(infrared - visible @ jnp.array([0.299, 0.587, 0.114])[:, None], 0)
    np.testing.assert_allclose(start["fused"], maximum, atol=1e-6)
    restore, fuse = (parameters["params"]["heads"][name] for name in ("dehazed", "fused"))
    assert restore["kernel"].shape == (3, 3, 8, 4)
    restore["bias"] = jnp.array([0.5, 0.1, -0.2, 0.3])
    assert fuse["kernel"].shape[-1] == 5
    fuse["bias"] = jnp.array([0.05, 0.0, -0.05, 0.5, 0.2])
    out = apply(parameters, visible, infrared)
    dehazed = 1.5 * visible - jnp.array([0.1, -0.2, 0.3]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(out["dehazed"], dehazed, atol=1e-6)
    luma = dehazed @ jnp.array([0.299, 0.587, 0.114])[:, None]
    fused = dehazed + 1.5 * jnp.maximum(infrared - luma, 0) + 0.2 * jnp.minimum(infrared, luma)
    np.testing.assert_allclose(out["fused"], fused + fuse["bias"][:3].reshape(1, 1, 1, 3), atol=1e-6)


@pytest.mark.slow
def test_soft_reconstruction_trains_every_weight():
    assert_alive(*drawn(reconstruction="soft"))  # its own initial convolutions are zero: no gradient goes further


def test_soft_reconstruction_draws_no_frame():
    """Where convolutions saw zeros beyond the border, the images change as they do further in."""
    model, parameters = drawn(reconstruction="soft")
    fuse = parameters["params"]["heads"]["fused"]
    for name in fuse:
        fuse[name] = fuse[name].at[..., 3:].set(0)
    visible, infrared = pair(20, 16)
    out = jax.jit(model.apply)(parameters, 0 * visible, infrared)  # a grey image: K * I is nothing, what stays is B
    maximum = out["dehazed"] + jnp.maximum(infrared - out["dehazed"] @ jnp.array([0.299, 0.587, 0.114])[:, None], 0)
    for change in (out["dehazed"], out["fused"] - maximum):
        inner = change[:, 4:-4, 4:-4]
        assert np.ptp(inner, axis=(1, 2)).min() > 1e-4
        expected = np.pad(inner, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="edge")
        np.testing.assert_allclose(change, expected, atol=1e-6)


@pytest.mark.parametrize(("size", "middle"), [(1, 0), (2, 0), (5, 2), (8, 3)])
def test_steady_border_of_tiny_images(size, middle):
    """Of less than a margin on each side and a pixel between, as much as there is room for."""
    x = jnp.arange(size, dtype=jnp.float32).reshape(1, size, 1, 1)
    steady = steady_border(jnp.broadcast_to(x, (1, size, size, 2)))
    np.testing.assert_array_equal(steady[0, :, 0, 0], np.clip(np.arange(size), middle, size - 1 - middle))


def test_prompt_is_eq_2_step_by_step():
    """PGM moves its 1x1 convolutions; here Eq. 1-2 are computed in the order in which they stand."""
    rng = np.random.default_rng(5)
    visible, infrared = (jnp.asarray(rng.standard_normal((2, 10, 14, 6)), jnp.float32) for _ in range(2))
    module = PGM(channels=4, num_prompts=3, prompt_size=5)
    parameters = module.init(jax.random.key(1), visible, infrared)
    p = jax.tree.map(np.asarray, parameters["params"])
    prompt, weights = module.apply(parameters, visible, infrared)

    convolved = (visible - infrared) @ p["conv_difference"]["kernel"] + p["conv_difference"]["bias"].reshape(
        1, 1, 1, -1
    )
    logits = convolved.mean(axis=(1, 2)) @ p["selection"]["kernel"] + p["selection"]["bias"][None]
    np.testing.assert_allclose(weights, jax.nn.softmax(logits), atol=1e-6)
    selected = np.einsum("bn,nhwc->bhwc", weights, p["pool"])
    resized = jax.image.resize(selected, (2, 10, 14, 4), "bilinear", antialias=False)
    pointwise = resized @ p["conv1x1"]["kernel"] + p["conv1x1"]["bias"].reshape(1, 1, 1, -1)
    kernel = jnp.asarray(p["conv3x3"]["kernel"])
    expected = jax.lax.conv_general_dilated(
        pointwise, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ) + p["conv3x3"]["bias"].reshape(1, 1, 1, -1)
    np.testing.assert_allclose(prompt, expected, atol=1e-5)


def test_cost_stays_below_the_release():
    """11,198,576 parameters and 17.3 GMAC at 256x256, counted on the authors' network."""
    model = build_model({"name": "iassf"})
    assert sum(cost.parameters(model).values()) < 11_198_576
    assert sum(cost.multiply_adds(model).values()) < 17.3e9


def test_multiply_adds_of_a_block_by_hand():
    """One encoder of 8 channels at 16x16 on both images, by the layers' formulas."""
    pixels, c, heads = 2 * 16 * 16, 8, 2
    hidden = int(2.66 * c)
    attention = 3 * c * c + 9 * 3 * c + 2 * c * c // heads + c * c
    feed_forward = 2 * hidden * c + 9 * 2 * hidden + hidden * c
    counted = cost.multiply_adds(build_model(SMALL), 16, 16)
    assert counted["encoder"] == pixels * (9 * 3 * c + attention + feed_forward)
    assert counted.keys() == TOP


def test_parameters_do_not_depend_on_the_size_they_are_made_at():
    model = build_model(SMALL)
    other = jax.eval_shape(model.init, jax.random.key(0), *pair(40, 24))
    assert jax.tree.map(lambda x: x.shape, abstract_parameters(model)) == jax.tree.map(lambda x: x.shape, other)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"name": "iasff"}, "model.name"),
        ({**SMALL, "chanels": 8}, "chanels"),
        ({**SMALL, "fusion_blocks": 2}, "odd"),
        ({**SMALL, "fusion_blocks": 17}, "an integer of at most 15"),
        ({**SMALL, "restoration_blocks": (1, 1)}, "odd"),
        ({**SMALL, "dtype": "float16"}, "bfloat16"),
        ({**SMALL, "norm": "none"}, "bias_free"),
        ({**SMALL, "channels": 0}, "channels is 0"),
        ({**SMALL, "reconstruction": "residual"}, "direct, soft"),
    ],
)
def test_unknown_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        build_model(settings)


def test_misfit_inputs_are_refused(network):
    model, parameters, _ = network
    visible, infrared = pair()
    for bad in [(visible[0], infrared), (visible, infrared[:, :8]), (infrared, infrared)]:
        with pytest.raises(ValueError, match="give"):
            model.apply(parameters, *bad)
