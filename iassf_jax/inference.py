"""Running a trained network on whole images of any size."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.data import images


@functools.partial(jax.jit, static_argnames=("model",))
def _apply(model: nn.Module, variables: Any, visible: jax.Array, infrared: jax.Array) -> dict[str, jax.Array]:
    out = model.apply(variables, visible, infrared)
    result = {name: images_to_uint8(out[name]) for name in ("dehazed", "fused")}
    if "haze_density" in out:
        result["haze_density"] = out["haze_density"]
    return result


def images_to_uint8(x: jax.Array) -> jax.Array:
    """[-1, 1] to uint8 with clipping and rounding, as `data.images.to_uint8` on the device."""
    return jnp.round(255.0 * (jnp.clip(x, -1.0, 1.0) * 0.5 + 0.5)).astype(jnp.uint8)


class Predictor:
    """A network and its weights, jitted, for images of any size.

    Images are mirror-padded at the right and the bottom to multiples of `pad_multiple`, so that images of many sizes
    share few compiled programs, and the results are cropped. The network's global statistics see the padding.
    """

    def __init__(self, model: nn.Module, variables: Any, pad_multiple: int = 32) -> None:
        self.model = model
        self.variables = jax.device_put(variables)
        self.pad_multiple = pad_multiple

    def __call__(self, visible: np.ndarray, infrared: np.ndarray) -> dict[str, np.ndarray]:
        """Dehazes and fuses a batch of pairs of one size.

        Args:
            visible: uint8|uint16[B, H, W, 3], hazy.
            infrared: uint8|uint16[B, H, W].

        Returns:
            `dehazed`, `fused`: uint8[B, H, W, 3]; `haze_density`: float32[B, H, W] in [0, 1], where the network has it.
        """
        height, width = visible.shape[1:3]
        pad = ((0, 0), (0, -height % self.pad_multiple), (0, -width % self.pad_multiple), (0, 0))
        pair = (images.to_signed(visible), images.to_signed(infrared)[..., None])
        out = _apply(self.model, self.variables, *(np.pad(x, pad, mode="symmetric") for x in pair))
        return {name: np.asarray(x)[:, :height, :width] for name, x in out.items()}
