"""Weights of the paper's network with parts that start anew: where a training's config has more than they hold."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.errors import UserError
from iassf_jax.models.modulation import GlobalModulation
from iassf_jax.models.restoration import modulation_names
from iassf_jax.runtime import run_once
from iassf_jax.weights.formats import Weights


def with_soft_reconstruction(weights: Weights) -> Weights:
    """Replaces the convolutions to the images of a network with `model.reconstruction` "direct" by zeros.

    The result is the start of a training: until then it gives back the hazy image, and its luma
    maximum with the infrared one.

    Raises:
        UserError: another network than the paper's.
    """
    if "reconstruction" not in weights.model:
        raise UserError(f"the network {weights.model['name']} has no soft reconstruction: leave that setting alone")
    params = dict(weights.params["params"])
    for module, outputs in (("ia_frm", 4), ("mspe_fm", 5)):
        kernel = params[module]["to_image"]["kernel"]
        fresh = {"kernel": np.zeros((*kernel.shape[:-1], outputs), kernel.dtype), "bias": np.zeros(outputs, np.float32)}
        params[module] = {**params[module], "to_image": fresh}
    return _changed(weights, params, reconstruction="soft")


def with_global_modulation(weights: Weights, passes: int = 1, seed: int = 0) -> Weights:
    """Adds fresh `GlobalModulation`s to a network with fewer: the images stay the same until they are trained.

    Args:
        weights: of the paper's network.
        passes: how many it shall have.
        seed: of the new parameters.
    """
    params = dict(weights.params["params"])
    maps = [jnp.zeros((1, 8, 8, c)) for c in (weights.model["channels"], 3, 3)]
    for k, name in enumerate(modulation_names(passes)):
        if name not in params["ia_frm"]:
            fresh = run_once(GlobalModulation().init, jax.random.key(seed + k), *maps)["params"]
            params["ia_frm"] = {**params["ia_frm"], name: jax.tree.map(np.asarray, fresh)}
    return _changed(weights, params, global_modulation=True, modulation_passes=passes)


def without_global_modulation(weights: Weights) -> Weights:
    """Takes away all that `with_global_modulation` adds."""
    params = dict(weights.params["params"])
    params["ia_frm"] = {k: x for k, x in params["ia_frm"].items() if not k.startswith("modulation")}
    return _changed(weights, params, global_modulation=False, modulation_passes=1)


def _changed(weights: Weights, params: dict, **settings: object) -> Weights:
    model = {**weights.model, **settings}
    return dataclasses.replace(weights, model=model, params={**weights.params, "params": params})
