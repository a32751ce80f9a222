"""The training loss of the paper, Eq. 6-9: intensity + gradient + alpha * L1. All terms are means, in float32."""

import jax
import jax.numpy as jnp

from iassf_jax.models.borders import pad_images
from iassf_jax.models.fast.convolutions import shifted_depthwise_conv

_SOBEL_X = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
_SOBEL_Y = ((1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (-1.0, -2.0, -1.0))


def sobel(images: jax.Array, border: str = "zero") -> jax.Array:
    """Sobel_x * I and Sobel_y * I of each channel: float[B, H, W, C] -> float[2, B, H, W, C]; `pad_images`'s border."""
    channels = images.shape[-1]
    kernels = (
        jnp.tile(jnp.array(k, images.dtype).reshape(3, 3, 1, 1), (1, 1, 1, channels)) for k in (_SOBEL_X, _SOBEL_Y)
    )
    padded = pad_images(images, 1, border)
    return jnp.stack([shifted_depthwise_conv(padded, kernel) for kernel in kernels])


def sobel_magnitude(images: jax.Array) -> jax.Array:
    """|Sobel_x * I| + |Sobel_y * I| of each channel, zero padding: float[B, H, W, C] -> float[B, H, W, C]."""
    return jnp.abs(sobel(images)).sum(axis=0)


def intensity_loss(fused: jax.Array, visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """mean |fused - max(visible, infrared)|, the maximum of each channel (Eq. 7); visible is the clear image."""
    return jnp.abs(fused - jnp.maximum(visible, infrared)).mean()


def gradient_loss(fused: jax.Array, visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """mean |S(fused) - max(S(visible), S(infrared))| (Eq. 8), S the Sobel magnitude."""
    target = jnp.maximum(sobel_magnitude(visible), sobel_magnitude(infrared))
    return jnp.abs(sobel_magnitude(fused) - target).mean()


def l1_loss(dehazed: jax.Array, visible: jax.Array) -> jax.Array:
    """mean |dehazed - visible| (Eq. 9); visible is the clear image."""
    return jnp.abs(dehazed - visible).mean()


def paper_loss(
    dehazed: jax.Array,
    fused: jax.Array,
    visible: jax.Array,
    infrared: jax.Array,
    *,
    alpha: float = 2.0,
    beta: float = 1.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of Eq. 6 and its terms.

    Args:
        dehazed, fused: the network's outputs, float[B, H, W, 3] in about [-1, 1].
        visible: the clear image, float[B, H, W, 3] in [-1, 1].
        infrared: float[B, H, W, 1 or 3] in [-1, 1].
        alpha: weight of the L1 term of the dehazed image (paper: 2).
        beta: weight of the gradient term (paper: 1).

    Returns:
        The loss and `{"loss", "intensity", "gradient", "l1"}`: scalars; the terms are unweighted.
    """
    dehazed, fused, visible, infrared = (x.astype(jnp.float32) for x in (dehazed, fused, visible, infrared))
    infrared = jnp.broadcast_to(infrared, visible.shape)
    terms = {
        "intensity": intensity_loss(fused, visible, infrared),
        "gradient": gradient_loss(fused, visible, infrared),
        "l1": l1_loss(dehazed, visible),
    }
    loss = terms["intensity"] + beta * terms["gradient"] + alpha * terms["l1"]
    return loss, {"loss": loss, **terms}
