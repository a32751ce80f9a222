"""The names and shapes of a network's parameters."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.errors import UserError


def abstract_parameters(model: nn.Module) -> Any:
    """Names, shapes and types of the weights."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *smallest_pair(model)))  # nothing is computed


def smallest_pair(model: nn.Module) -> tuple[jax.Array, jax.Array]:
    """A pair of images of the least size at which every level of a network has pixels."""
    side = 2 * model.size_multiple
    return jnp.zeros((1, side, side, 3)), jnp.zeros((1, side, side, 1))


def check_tree(expected: Any, found: Any, what: str) -> None:
    """Compares two trees by names and shapes.

    Raises:
        UserError: lists every missing, unexpected and misshapen name.
    """
    expected, found = ({jax.tree_util.keystr(k): tuple(x.shape) for k, x in _leaves(t)} for t in (expected, found))
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        if expected[name] != found[name]:
            problems.append(f"{name} has shape {found[name]}, not {expected[name]}")
    if problems:
        raise UserError(f"{what} does not fit this config ({len(problems)} names): {'; '.join(problems)}")


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return [(path, x) for path, x in jax.tree_util.tree_leaves_with_path(tree) if hasattr(x, "shape")]
