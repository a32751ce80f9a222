"""Prompt pools of another size."""

import dataclasses
from collections.abc import Callable

import cv2
import jax
import numpy as np

from iassf_jax.errors import UserError
from iassf_jax.weights.formats import Weights


def with_prompt_size(weights: Weights, side: int) -> Weights:
    """Resizes the learned prompt pools of weights; the network stretches them over the image, so it stays the same.

    Pools that were trained on crops hold no places, only what is left of their random start: `benchmarks.prompt_pool`
    measures that less of it is no loss.

    Args:
        weights: of the paper's network.
        side: the new `model.prompt_size`, at least 1: area means where it is smaller, bilinear where it is larger.

    Raises:
        UserError: a network without such pools, as the released one, or a side below 1.
    """
    if side < 1:
        raise UserError(f"the prompt size is {side}: use 1 or more")
    if not any(_is_pool(path) for path, _ in jax.tree_util.tree_leaves_with_path(weights.params)):
        name = weights.model["name"]
        raise UserError(f"the network {name} has no prompt pool that can be resized: leave its prompt size alone")
    before = weights.model["prompt_size"]
    how = cv2.INTER_AREA if side < before else cv2.INTER_LINEAR

    def resize(x: np.ndarray) -> np.ndarray:
        planes = [cv2.resize(np.float32(plane), (side, side), interpolation=how) for plane in x]
        return np.stack(planes).reshape(len(planes), side, side, -1).astype(x.dtype)

    return map_pools(resize, dataclasses.replace(weights, model={**weights.model, "prompt_size": side}))


def map_pools(change: Callable[[np.ndarray], np.ndarray], weights: Weights) -> Weights:
    """The weights with each prompt pool [N, side, side, C] changed by a function, and the rest as it is."""

    def of_leaf(path: tuple, x: jax.Array) -> jax.Array | np.ndarray:
        return change(np.asarray(x)) if _is_pool(path) else x

    return dataclasses.replace(weights, params=jax.tree_util.tree_map_with_path(of_leaf, weights.params))


def _is_pool(path: tuple) -> bool:
    return path[-1].key == "pool"
