"""The band-by-band forms of blocks against their plain forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iassf_jax.models import restormer
from iassf_jax.models.fast import bands
from iassf_jax.models.fast.plain import plain_operations
from iassf_jax.models.release.dehazeformer import TransformerBlock
from iassf_jax.models.release.network import EncoderBlock
from iassf_jax.models.restormer import RestormerBlock
from iassf_jax.models.whole_image import GLOBALS, counting

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="bands are for CPUs")

SIZES = [(2, 40, 9, 8), (1, 37, 12, 8), (1, 17, 20, 8)]  # the last band full, short by a few rows, short by one


@pytest.fixture(autouse=True)
def small_bands(monkeypatch):
    monkeypatch.setattr(bands, "PIXELS", 100)


def image(shape):
    return jax.random.normal(jax.random.key(1), shape)


def block_and_parameters(block=None):
    block = block or RestormerBlock(num_heads=2)
    parameters = jax.jit(block.init)(jax.random.key(0), image((1, 4, 4, 8)))
    # Fresh norms and temperatures are ones, which would hide a wrong order.
    keys = jax.random.split(jax.random.key(2), len(jax.tree.leaves(parameters)))
    noise = jax.tree.unflatten(jax.tree.structure(parameters), list(keys))
    return block, jax.tree.map(lambda p, k: p + 0.3 * jax.random.normal(k, p.shape), parameters, noise)


@pytest.mark.parametrize("shape", SIZES)
def test_bands_equal_the_plain_block_and_its_gradients(shape):
    check_against_plain(*block_and_parameters(), image(shape))


@pytest.mark.parametrize(
    "block",
    [TransformerBlock(2, 3, shift=4), TransformerBlock(0, 2), EncoderBlock(8)],
    ids=["attention", "convolution", "encoder"],
)
def test_strips_equal_the_plain_block_of_the_release_and_its_gradients(block):
    check_against_plain(*block_and_parameters(block), image((2, 21, 10, 8)))


@pytest.mark.parametrize("block", [RestormerBlock(num_heads=2), EncoderBlock(8), TransformerBlock(2, 2)])
def test_bfloat16_stays_bfloat16_and_near(block):
    block, parameters = block_and_parameters(block)
    x = image((2, 21, 10, 8))
    low = jax.jit(dataclasses.replace(block, dtype=jnp.bfloat16).apply)(parameters, x.astype(jnp.bfloat16))
    full = jax.jit(block.apply)(parameters, x)
    assert low.dtype == jnp.bfloat16
    assert 1e-4 < float(jnp.abs(low.astype(jnp.float32) - full).mean() / jnp.abs(full).mean()) < 0.05


def check_against_plain(block, parameters, x):
    def run(parameters, x):
        def loss(parameters, x):
            y = block.apply(parameters, x)
            return jnp.sin(y).sum(), y

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(parameters, x)

    assert bands.cut(x)
    in_bands = run(parameters, x)
    with plain_operations():
        assert bands.cut(x) is None
        plain = run(parameters, x)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * scale), in_bands, plain)


def test_statistics_of_a_part_are_those_of_the_plain_block():
    block, parameters = block_and_parameters()
    x, core = image((1, 40, 12, 8)), jnp.array([8, 24, 0, 8])

    def record():
        with counting(40, core):
            return block.apply(parameters, x, mutable=[GLOBALS])[1]

    in_bands = jax.jit(record)()
    with plain_operations():
        plain = jax.jit(lambda: record())()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), in_bands, plain)


@pytest.mark.parametrize("shape", SIZES)
def test_bands_cover_the_image_evenly(shape):
    count, rows = bands.cut(image(shape))
    assert rows >= bands.MIN_ROWS
    assert 0 <= count * rows - shape[1] < count


def test_each_image_of_a_batch_has_bands_of_its_own():
    assert bands.cut(image((1, 10, 10, 4))) is None  # one band is no band
    assert bands.cut(image((3, 10, 10, 4))) == bands.Bands(1, 10)
    assert bands.cut(image((3, 3, 10, 4))) is None  # all together one band


def test_who_stays_whole(monkeypatch):
    assert bands.cut(image((1, 15, 100, 4))) is None  # two bands of 8 rows do not fit
    assert bands.cut(image((1, 16, 100, 4)))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert bands.cut(image((1, 16, 100, 4))) is None


def test_all_channels_at_once_equal_head_by_head():
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 5, 6, 12)) for i in range(3))
    project, temperature = jax.random.normal(jax.random.key(3), (12, 12)), jnp.array([0.5, 2.0, 1.0])

    def run():
        products = restormer.channel_products(q, k, heads=3)
        weights = restormer.channel_weights(products, temperature)
        return products, restormer.mix_channels(weights, v, project)

    fast = run()
    with plain_operations():
        plain = run()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), fast, plain)
