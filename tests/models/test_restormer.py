"""Restormer blocks against the official PyTorch ones.

`data/restormer_blocks.npz` was made by running the official blocks (github.com/swz30/Restormer) on a CPU in float32;
the weights follow a seeding rule, repeated in `seeded`, so that none are stored.
"""

import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import TEST_DATA
from iassf_jax.models.borders import pad_images
from iassf_jax.models.fast import convolutions
from iassf_jax.models.fast.convolutions import depthwise_conv, lax_depthwise_conv, pointwise_product
from iassf_jax.models.restormer import GDFN, MDTA, LayerNorm, RestormerBlock
from iassf_jax.weights.torch_names import official_restormer_block

BLOCKS = {
    "mdta": MDTA(num_heads=2),
    "gdfn": GDFN(expansion=2.66),
    "block_withbias": RestormerBlock(num_heads=2, norm="with_bias"),
    "block_biasfree": RestormerBlock(num_heads=4, norm="bias_free"),
}


def seeded(block: str, key: str, shape: list[int]) -> np.ndarray:
    z = np.random.default_rng(zlib.crc32(f"a:{block}.{key}".encode())).standard_normal(shape)
    if key.endswith("temperature"):
        z = 1 + 0.2 * z
    elif "norm" in key and key.endswith("weight"):
        z = 1 + 0.05 * z
    elif len(shape) == 1:
        z = 0.05 * z
    else:
        z = z / np.sqrt(np.prod(shape[1:]))
    return z.astype(np.float32)


def relative_error(value: jax.Array, expected: np.ndarray) -> float:
    return float(np.abs(np.asarray(value) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", BLOCKS)
def test_matches_official_block(name):
    values = np.load(TEST_DATA / "restormer_blocks.npz")
    shapes = json.loads((TEST_DATA / "restormer_manifest.json").read_text())[name]
    module, x = BLOCKS[name], jnp.asarray(values["x"].transpose(0, 2, 3, 1))
    tensors = {f"encoder.{key}": seeded(name, key, shape) for key, shape in shapes.items()} | {"other": np.zeros(1)}
    parameters = official_restormer_block(tensors, jax.eval_shape(module.init, jax.random.key(0), x), "encoder.")

    def mean_square(x):
        return jnp.square(module.apply(parameters, x)).mean()

    y, gradient = jax.jit(lambda x: (module.apply(parameters, x), jax.grad(mean_square)(x)))(x)
    assert relative_error(y, values[name].transpose(0, 2, 3, 1)) < 1e-5
    assert relative_error(gradient, values[f"{name}_dx"].transpose(0, 2, 3, 1)) < 1e-5


@pytest.mark.parametrize("size, kernel", [((7, 9), 3), ((2, 3), 5), ((1, 1), 3)])
def test_depthwise_conv_equals_its_plain_form(size, kernel):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *size, 6)), jnp.float32)
    k = jnp.asarray(rng.standard_normal((kernel, kernel, 1, 6)), jnp.float32)

    def run(conv):
        return jax.value_and_grad(lambda x, k: jnp.sin(conv(pad_images(x, kernel // 2), k)).sum(), argnums=(0, 1))(x, k)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), run(depthwise_conv), run(lax_depthwise_conv))


@pytest.mark.parametrize("height", [1, 12, 13])
def test_pointwise_product_equals_its_plain_form(height, monkeypatch):
    """Its gradient goes by bands, here of 4 rows: less than one, some whole ones, and some rows left over."""
    monkeypatch.setattr(convolutions, "PRODUCT_PIXELS", 4 * 2 * 5)
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.standard_normal((2, height, 5, 3)), jnp.float32)
    k = jnp.asarray(rng.standard_normal((3, 4)), jnp.float32)

    def run(product):
        return jax.value_and_grad(lambda x, k: jnp.sin(product(x, k)).sum(), argnums=(0, 1))(x, k)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), run(pointwise_product), run(jnp.matmul))


def test_zero_features_give_finite_gradients():
    block = RestormerBlock(num_heads=2)
    x = jnp.zeros((1, 4, 4, 8))
    parameters = block.init(jax.random.key(0), x)
    gradients = jax.grad(lambda p, x: block.apply(p, x).sum(), argnums=(0, 1))(parameters, x)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_bfloat16_stays_near_float32():
    x = jax.random.normal(jax.random.key(1), (1, 16, 16, 24))
    block = RestormerBlock(num_heads=1)
    parameters = block.init(jax.random.key(0), x)
    low = RestormerBlock(num_heads=1, dtype=jnp.bfloat16).apply(parameters, x.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    assert relative_error(low.astype(jnp.float32), np.asarray(block.apply(parameters, x))) < 0.03


def test_wrong_settings_say_so():
    x = jnp.zeros((1, 4, 4, 6))
    with pytest.raises(ValueError, match="heads"):
        MDTA(num_heads=4).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="bias_free"):
        LayerNorm("none").init(jax.random.key(0), x)
