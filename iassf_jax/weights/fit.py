"""Weights made to fit a config: prompt pools of another size, and heads that start anew."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from iassf_jax.errors import UserError
from iassf_jax.models import build_model, full_settings
from iassf_jax.models.parameters import smallest_pair
from iassf_jax.models.resampling import resampling_weights
from iassf_jax.runtime import run_once
from iassf_jax.train.run_config import changed_settings
from iassf_jax.weights.formats import Weights

# Settings of a network that its parameters don't follow from: the config's count.
_WITHOUT_PARAMETERS = ("dtype", "working_size", "bound")


def fit_weights(weights: Weights, model: Mapping[str, Any], seed: int = 0) -> Any:
    """The parameters with which a training of a config starts.

    Another number format, working size or bound is no other network. Prompt pools are resized. Where features shall
    become images in another way, its convolutions are those of fresh weights.

    Args:
        weights: to start from.
        model: the `model` section of the config.
        seed: of fresh parameters.

    Returns:
        A parameter tree.

    Raises:
        UserError: the weights hold another network.
    """
    settings = {**dict(model), **_without_parameters(weights.model)}
    if settings["name"] != weights.model["name"]:
        _refuse(weights, settings)
    side = settings.get("prompt_size")
    if side and weights.model.get("prompt_size", side) != side:
        weights = with_prompt_size(weights, side)
    # Not to "direct": it would have to learn all that the other two take from the images.
    if settings.get("reconstruction") not in (weights.model.get("reconstruction"), "direct"):
        weights = with_fresh_heads(weights, {**dict(model)}, seed)
        settings |= _without_parameters(weights.model)
    _refuse(weights, settings)
    return weights.params


def _without_parameters(model: Mapping[str, Any]) -> dict[str, Any]:
    return {name: model[name] for name in _WITHOUT_PARAMETERS if name in model}


def _refuse(weights: Weights, settings: Mapping[str, Any]) -> None:
    """Raises UserError if the settings are another network's."""
    if changed := changed_settings({"model": weights.model}, {"model": settings}):
        raise UserError(f"init_from holds another network ({changed}): set the config's model to it")


def averaged(weights: Weights, others: Weights, share: float) -> Weights:
    """The mean of fine-tuned weights and those it began with, which is better at both (Wortsman et al., CVPR 2022).

    Args:
        weights: fine-tuned; its settings are kept.
        others: of the same network.
        share: 0 to 1, of the fine-tuned ones.

    Raises:
        UserError: the two are different networks, or a share that is none.
    """
    if not 0 <= share <= 1:
        raise UserError(f"the share is {share}: use 0 to 1")
    same = {**weights.model, **_without_parameters(others.model)}
    if changed := changed_settings({"model": others.model}, {"model": same}):
        raise UserError(f"weights of different networks have no mean ({changed}): give those that training began with")

    def mean(x: Any, y: Any) -> np.ndarray:
        return np.float32(share * np.float32(x) + (1 - share) * np.float32(y))

    return dataclasses.replace(weights, params=jax.tree.map(mean, weights.params, others.params))


def with_fresh_heads(weights: Weights, model: Mapping[str, Any], seed: int = 0) -> Weights:
    """The weights with the heads of another `reconstruction`, as fresh weights have them.

    Raises:
        UserError: the networks have no other parts in common.
    """
    for settings in (weights.model, model):
        if "reconstruction" not in full_settings(settings):
            raise UserError(f"the network {settings['name']} has no reconstruction: leave that setting alone")
    network = build_model(model)
    fresh = run_once(network.init, jax.random.key(seed), *smallest_pair(network))["params"]
    own = ("heads", "embed_haze", "embed")  # the last: of patches, where there are any
    flat = flatten_dict(weights.params["params"])
    both = {
        path: np.asarray(x) if _is_own(path, own, flat, x.shape) else flat[path]
        for path, x in flatten_dict(fresh).items()
    }
    names = ("reconstruction", "patch", *_WITHOUT_PARAMETERS)
    changed = {**weights.model, **{name: full_settings(model)[name] for name in names}}
    return dataclasses.replace(weights, model=changed, params={"params": unflatten_dict(both)})


def _is_own(path: tuple[str, ...], own: tuple[str, ...], there: Mapping[Any, Any], shape: tuple[int, ...]) -> bool:
    """Whether a parameter starts anew: one of a head, or of what only the new network has."""
    if not any(part in own for part in path) and path not in there:
        raise UserError(f"init_from has no {'/'.join(path)}: it holds another network")
    return path not in there or path[0] == "heads" or there[path].shape != shape and any(part in own for part in path)


def with_prompt_size(weights: Weights, side: int) -> Weights:
    """Resizes the learned prompt pools of weights; the network stretches them over the image, so it stays the same.

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
    shares = resampling_weights(before, side)

    def resize(x: np.ndarray) -> np.ndarray:
        return np.einsum("oh,pw,nhwc->nopc", shares, shares, x.astype(np.float32)).astype(x.dtype)

    return map_pools(resize, dataclasses.replace(weights, model={**weights.model, "prompt_size": side}))


def map_pools(change: Callable[[np.ndarray], np.ndarray], weights: Weights) -> Weights:
    """The weights with each prompt pool [N, side, side, C] changed by a function, and the rest as it is."""

    def of_leaf(path: tuple, x: jax.Array) -> jax.Array | np.ndarray:
        return change(np.asarray(x)) if _is_pool(path) else x

    return dataclasses.replace(weights, params=jax.tree_util.tree_map_with_path(of_leaf, weights.params))


def _is_pool(path: tuple) -> bool:
    return path[-1].key == "pool"
