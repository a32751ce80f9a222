"""Weights of the paper's network whose last convolutions start anew, as soft reconstruction."""

import dataclasses

import numpy as np

from iassf_jax.convert.formats import Weights
from iassf_jax.errors import UserError


def with_soft_reconstruction(weights: Weights) -> Weights:
    """Replaces the convolutions to the images of a network with `model.reconstruction` "direct" by zeros.

    The result is the start of a training: until then it gives back the hazy image, twice.

    Raises:
        UserError: another network than the paper's.
    """
    if "reconstruction" not in weights.model:
        raise UserError(f"the network {weights.model['name']} has no soft reconstruction: leave that setting alone")
    params = dict(weights.params["params"])
    for module, outputs in (("ia_frm", 4), ("mspe_fm", 3)):
        kernel = params[module]["to_image"]["kernel"]
        fresh = {"kernel": np.zeros((*kernel.shape[:-1], outputs), kernel.dtype), "bias": np.zeros(outputs, np.float32)}
        params[module] = {**params[module], "to_image": fresh}
    model = {**weights.model, "reconstruction": "soft"}
    return dataclasses.replace(weights, model=model, params={**weights.params, "params": params})
