"""Peak signal-to-noise ratio."""

import jax
import jax.numpy as jnp


def psnr(image: jax.Array, reference: jax.Array, data_range: float = 255.0) -> jax.Array:
    """10 log10(data_range^2 / MSE) of each image, in dB; the mean is over pixels and channels.

    Args:
        image, reference: numbers[B, H, W, C] in 0..data_range.
        data_range: the largest possible value.

    Returns:
        float32[B]; infinity where the images are equal.
    """
    difference = image.astype(jnp.float32) - reference.astype(jnp.float32)
    mse = jnp.square(difference).mean(axis=(1, 2, 3))
    return 10.0 * jnp.log10(data_range**2 / mse)
