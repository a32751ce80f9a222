"""The GPU's kernels, interpreted on a CPU, against the plain forms; on a GPU they run as they are."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iassf_jax.models import restormer
from iassf_jax.models.fast import devices, gpu_kernels
from iassf_jax.models.fast.convolutions import lax_depthwise_conv
from iassf_jax.models.fast.plain import portable_operations

INTERPRET = jax.default_backend() == "cpu"


def normal(*shape):
    return jax.random.normal(jax.random.key(sum(shape)), shape)


def plain(x, kernel, margin):
    return lax_depthwise_conv(jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0))), kernel)


def assert_close(found, expected, limit=2e-6):
    found, expected = (np.asarray(x, np.float64) for x in (found, expected))
    assert np.abs(found - expected).max() <= limit * np.abs(expected).max()


@pytest.fixture
def interpreted(monkeypatch):
    """The networks take the kernels, as they do on a GPU."""
    monkeypatch.setattr(devices, "_is_recent_nvidia", lambda: True)
    if INTERPRET:  # which takes long for many rows
        for name, value in (("PIECE", 64), ("ROWS", 2), ("GRADIENT_ROWS", 8)):
            monkeypatch.setattr(gpu_kernels, name, value)
        for name in ("convolve", "kernel_gradient", "gated", "gate_gradient"):
            monkeypatch.setattr(gpu_kernels, name, functools.partial(getattr(gpu_kernels, name), interpret=True))


@pytest.mark.parametrize(
    ("shape", "side", "margin"),
    [((2, 11, 13, 6), 3, 1), ((1, 9, 7, 5), 5, 0), ((2, 70, 9, 6), 3, 1), ((1, 8, 8, 4), 3, 2), ((1, 20, 9, 8), 5, 2)],
)
def test_convolution_and_its_gradients(interpreted, shape, side, margin):
    x, kernel = normal(*shape), normal(side, side, 1, shape[-1])
    expected, gradients = jax.vjp(lambda x, kernel: plain(x, kernel, margin), x, kernel)
    found, own_gradients = jax.vjp(lambda x, kernel: gpu_kernels.depthwise_conv(x, kernel, margin), x, kernel)
    g = normal(*expected.shape)
    assert_close(found, expected)
    for own, gradient in zip(own_gradients(g), gradients(g), strict=True):
        assert_close(own, gradient)


@pytest.mark.parametrize("shape", [(2, 11, 13, 6), (1, 70, 9, 62)])
def test_gate_and_its_gradients(interpreted, shape):
    x, kernel = normal(*shape), normal(3, 3, 1, shape[-1])
    expected, gradients = jax.vjp(lambda x, kernel: restormer._gate(plain(x, kernel, 1)), x, kernel)
    found, own_gradients = jax.vjp(gpu_kernels.gated_depthwise_conv, x, kernel)
    g = normal(*expected.shape)
    assert_close(found, expected)
    for own, gradient in zip(own_gradients(g), gradients(g), strict=True):
        assert_close(own, gradient)


def test_sums_of_bfloat16_are_float32(interpreted):
    x, kernel = normal(1, 16, 16, 8).astype(jnp.bfloat16), normal(3, 3, 1, 8).astype(jnp.bfloat16)
    exact = plain(x.astype(jnp.float32), kernel.astype(jnp.float32), 1)
    found = gpu_kernels.depthwise_conv(x, kernel, 1)
    assert found.dtype == jnp.bfloat16
    assert_close(found, exact, 2**-8)


def test_a_block_is_the_same_with_kernels(interpreted):
    block, x = restormer.RestormerBlock(num_heads=2), normal(2, 12, 10, 8)
    variables = jax.jit(block.init)(jax.random.key(0), x)

    def loss(variables):
        return jnp.square(block.apply(variables, x)).mean()

    found, gradients = jax.value_and_grad(loss)(variables)
    with portable_operations():
        assert not devices.has_kernels(x)
        expected, plain_gradients = jax.value_and_grad(loss)(variables)
    assert devices.has_kernels(x)
    assert_close(found, expected)
    for own, gradient in zip(jax.tree.leaves(gradients), jax.tree.leaves(plain_gradients), strict=True):
        assert_close(own, gradient, 1e-5)


def test_erf_to_the_last_digits():
    x = jnp.linspace(-8, 8, 100_001)
    expected = jax.scipy.stats.norm.cdf(x)
    assert np.abs(np.asarray(gpu_kernels._normal_share(x) - expected)).max() < 3e-7


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a GPU has kernels")
def test_a_cpu_has_no_kernels():
    assert not devices.has_kernels(normal(1, 8, 8, 4))


ON_TWO_DEVICES = """
import functools
import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from iassf_jax.models.fast import devices, gpu_kernels

gpu_kernels.PIECE, gpu_kernels.ROWS, gpu_kernels.GRADIENT_ROWS = 64, 2, 8
for name in ("convolve", "kernel_gradient", "gated", "gate_gradient"):
    setattr(gpu_kernels, name, functools.partial(getattr(gpu_kernels, name), interpret=True))

def loss(x, kernel):
    gated, plain = gpu_kernels.gated_depthwise_conv(x, kernel), gpu_kernels.depthwise_conv(x, kernel, 1)
    return (gated**2).mean() + (plain**2).mean()

def gradients(x, kernel):
    return jax.value_and_grad(loss, (0, 1))(x, kernel)

x, kernel = jax.random.normal(jax.random.key(0), (4, 5, 7, 6)), jax.random.normal(jax.random.key(1), (3, 3, 1, 6))
expected = jax.jit(gradients)(x, kernel)
mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
placed = [jax.device_put(a, NamedSharding(mesh, PartitionSpec(*cut))) for a, cut in ((x, ["data"]), (kernel, []))]
with devices.batches_cut_over(mesh):
    program = jax.jit(lambda *args: gradients(*args)).lower(*placed).compile()
assert "all-gather" not in program.as_text()
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), program(*placed), expected)
"""


@pytest.mark.slow
def test_each_device_runs_the_kernels_on_its_share_of_a_batch():
    """Nothing of a batch goes to another device."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES], cwd=root, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
