"""`python -m benchmarks`: both sides compute the same, turns are counted, and what fails is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.speed import tables
from benchmarks.speed.cases import Case, cases, contenders
from benchmarks.speed.duel import duel
from iassf_jax.evaluate.cost import count_products
from iassf_jax.losses import paper_loss
from iassf_jax.models.restormer import RestormerBlock

RESULT = {"seconds": 0.5, "memory": 2**28, "memory_before": 2**27, "first_call_s": 3.0, "times": [0.5]}
PRODUCTS = {"operations": 1e8, "bytes": 2e8}
COMPILING = {"first_call_s": 9.0, "memory": 2**29}


def test_products_are_counted_with_their_bytes():
    def run(x, kernel):
        def step(total, _):
            return total + x @ kernel, None

        return jax.lax.scan(step, jnp.zeros((8, 4)), None, length=5)[0]

    assert count_products(run, jnp.zeros((8, 16)), jnp.zeros((16, 4))) == (5 * 8 * 16 * 4, 5 * 4 * (128 + 64 + 32))


def test_the_table_names_ratios_limits_and_failures():
    case = "inference 640x480, batch 1"
    results = {
        "machine": {"device": "a CPU", "cores": 2, "date": "2026-01-01", "versions": {"jax": "1"}, "platform": "cpu"},
        "limits": {"operations": 1e9, "bytes": 1e9},
        "cases": {case: {"iassf": {**RESULT, **PRODUCTS, "compiling": COMPILING}, "torch": {**RESULT, "seconds": 2.0},
                         "torch_compiled": {"failure": "no compiler"}}},
        "start_up": {"cold": 10.0, "warm": 5.0},
        "data": {"configs/msrs.py": 100.0},
    }  # fmt: skip
    text = tables.as_markdown(results)
    assert "| paper's network | 0.5 | 4.00 |  | 256 | 512 | 3.0 | 9.0 | 40% |" in text  # 0.2 s of bytes in 0.5 s
    assert "| PyTorch, compiled | failed: no compiler |" in text and "5.0 s from then on" in text


def test_every_case_has_someone_of_both_sides():
    for on_gpu in (False, True):
        for case in cases(on_gpu):
            names = contenders(case, on_gpu)
            assert "iassf" in names and "torch" in names and (on_gpu or not any("bf16" in name for name in names))


@pytest.mark.slow
def test_contenders_take_turns_and_failures_are_told():
    results = duel(Case("Restormer block", 16, 16, 1), ["iassf", "nobody"], rounds=2, least=0.0)
    ours = results["iassf"]
    assert len(ours["times"]) == 2 and 0 < ours["seconds"] < ours["first_call_s"]
    assert set(ours["compiling"]) == {"first_call_s", "memory"}
    assert ours["memory"] > 0 and ours["operations"] > 0 and ours["bytes"] > 0
    assert "failure" in duel(Case("nonsense", 16, 16, 1), ["iassf"], 1, 0.0)["iassf"]


@pytest.mark.slow
def test_both_sides_compute_the_same():
    torch = pytest.importorskip("torch", reason="needs PyTorch (extra 'parity')")
    from benchmarks import torch_restormer
    from benchmarks.speed.torch_contenders import _loss

    block, rng = RestormerBlock(2), np.random.default_rng(0)
    x = rng.standard_normal((1, 12, 10, 16)).astype(np.float32)
    parameters = jax.jit(block.init)(jax.random.key(0), jnp.asarray(x))["params"]
    theirs = torch_restormer.RestormerBlock(16, 2)
    names = {"qkv": "qkv", "qkv_dwconv": "dwconv", "project_out": "project_out"}
    pairs = [(theirs.attn, there, parameters["attn"][here]) for here, there in names.items()]
    pairs += [(theirs.ffn, name, parameters["ffn"][name]) for name in ("project_in", "dwconv", "project_out")]
    with torch.no_grad():
        for module, name, leaf in pairs:
            kernel = np.asarray(leaf["kernel"])
            kernel = kernel.T[..., None, None] if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
            getattr(module, name).weight.copy_(torch.tensor(kernel))
        expected = theirs(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(jax.jit(block.apply)({"params": parameters}, jnp.asarray(x)), expected, atol=2e-5)

    four = [rng.uniform(-1, 1, (2, 9, 8, 3)).astype(np.float32) for _ in range(4)]
    loss = _loss(*(torch.tensor(x).permute(0, 3, 1, 2) for x in four))
    np.testing.assert_allclose(paper_loss(*map(jnp.asarray, four))[0], float(loss), rtol=1e-5)
