"""Parameters and multiply-adds of a network, counted on the program itself."""

import collections
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core

from iassf_jax.errors import UserError
from iassf_jax.models.fast.plain import plain_operations
from iassf_jax.models.parameters import abstract_parameters

ABLATIONS = ("without_ir", "without_hde", "without_p_ir", "without_fr_peb", "without_p_vi", "without_fb_peb")


def multiply_adds(model: nn.Module, height: int = 256, width: int = 256) -> dict[str, int]:
    """Multiply-adds of matrix products and convolutions for one pair, by the network's top modules.

    Element-wise work (norms, activations, the haze estimator's windows) is not counted, as in the papers' figures.
    """
    variables = abstract_parameters(model)
    with plain_operations():  # the network as its equations say, not as this device computes it
        program = jax.make_jaxpr(model.apply)(variables, *_pair(height, width))
    totals: dict[str, int] = collections.Counter()
    for product in _products(program.jaxpr, ""):
        parts = [part for part in product.path.split("/") if part and not part.startswith(type(model).__name__)]
        named = parts and parts[0] in variables["params"]
        totals[parts[0] if named else "other"] += product.count
    return dict(totals)


def count_products(function: Callable[..., Any], *args: Any) -> tuple[int, int]:
    """Multiply-adds of all matrix products and convolutions of a function of arrays (or their shapes), and their bytes.

    The bytes are those of each product's operands and result: what must be moved if all else is fused into them.
    """
    found = list(_products(jax.make_jaxpr(function)(*args).jaxpr, ""))
    return sum(product.count for product in found), sum(product.bytes for product in found)


def parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters by the network's top modules."""
    variables = abstract_parameters(model)
    return {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in variables["params"].items()}


def _pair(height: int, width: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    return tuple(jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32) for channels in (3, 1))


class _Product(NamedTuple):
    path: str
    count: int
    bytes: int


def _products(jaxpr: core.Jaxpr, outer: str) -> Iterator[_Product]:
    """Every product in a program and its sub-programs."""
    for eqn in jaxpr.eqns:
        path = f"{outer}/{eqn.source_info.name_stack}"
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            moved = sum(v.aval.size * v.aval.dtype.itemsize for v in (*eqn.invars, *eqn.outvars))
            yield _Product(path, _multiply_adds(eqn), moved)
        elif eqn.primitive.name == "cond":  # of `platform_dependent`: the last branch is the plain form
            yield from _products(eqn.params["branches"][-1].jaxpr, path)
        else:
            repeats = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
            for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_program):
                if _is_program(inner):
                    inner = inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner
                    for product in _products(inner, path):
                        yield product._replace(count=repeats * product.count, bytes=repeats * product.bytes)


def _multiply_adds(eqn: core.JaxprEqn) -> int:
    size = eqn.outvars[0].aval.size
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return size * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
    kernel = eqn.invars[1].aval
    return size * kernel.size // kernel.shape[eqn.params["dimension_numbers"].rhs_spec[0]]


def _is_program(x: Any) -> bool:
    return isinstance(x, core.ClosedJaxpr | core.Jaxpr)


def table(model: nn.Module, height: int = 256, width: int = 256) -> str:
    """Parameters and multiply-adds by module, as text."""
    sizes, products = parameters(model), multiply_adds(model, height, width)
    lines = [f"{'module':<14}{'parameters':>14}{'GMAC':>10}"]
    for name in sorted(sizes | products, key=list(sizes).index if sizes.keys() >= products.keys() else str):
        lines.append(f"{name:<14}{sizes.get(name, 0):>14,}{products.get(name, 0) / 1e9:>10.3f}")
    lines.append(f"{'total':<14}{sum(sizes.values()):>14,}{sum(products.values()) / 1e9:>10.3f}")
    return "\n".join(lines)


def ablation_table(model: nn.Module, height: int = 256, width: int = 256) -> str:
    """Totals of the network, of its ablations (Table VII) and of its numbers of fusion blocks (Table IX), as text."""
    variants = {"as configured": {}}
    variants |= {name: {name: True} for name in ABLATIONS}
    variants |= {f"fusion_blocks={m}": {"fusion_blocks": m} for m in (1, 3, 5, 7)}
    lines = [f"{'setting':<18}{'parameters':>14}{'GMAC':>10}"]
    for name, changes in variants.items():
        try:
            variant = model.clone(**changes)
        except UserError:  # this network cannot be without that part
            continue
        size, products = sum(parameters(variant).values()), sum(multiply_adds(variant, height, width).values())
        lines.append(f"{name:<18}{size:>14,}{products / 1e9:>10.3f}")
    return "\n".join(lines)
