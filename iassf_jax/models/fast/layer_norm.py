"""Layer normalisation with a gradient of its own, beside its plain form."""

from typing import Any

import jax
import jax.numpy as jnp

from iassf_jax.models.fast.plain import is_plain


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array | None, epsilon: float) -> jax.Array:
    """Over the last axis of float32[..., C], by its deviation from the mean; from zero where there is no bias."""
    if is_plain():
        return plain_layer_norm(x, scale, bias, epsilon)
    return _with_own_gradient(x, scale, bias, epsilon)


def plain_layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array | None, epsilon: float) -> jax.Array:
    """`layer_norm` with the gradient that JAX makes of it."""
    return _normalised(x, scale, bias, epsilon)[0]


_with_own_gradient = jax.custom_vjp(plain_layer_norm, nondiff_argnums=(3,))


def _normalised(
    x: jax.Array, scale: jax.Array, bias: jax.Array | None, epsilon: float
) -> tuple[jax.Array, tuple[Any, ...]]:
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse_std = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + epsilon)
    shape = (1,) * (x.ndim - 1) + (-1,)
    y = (x if bias is None else centred) * inverse_std * scale.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)), (x, scale, bias)


def _layer_norm_backward(epsilon: float, saved: tuple[Any, ...], g: jax.Array) -> tuple[Any, ...]:
    """Sums over pixels as products with ones: XLA on a CPU reduces leading axes a dozen times slower."""
    x, scale, bias = saved
    mean = lambda t: t.mean(axis=-1, keepdims=True)  # noqa: E731
    centred = x - mean(x)
    inverse_std = jax.lax.rsqrt(mean(jnp.square(centred)) + epsilon)
    shape = (1,) * (x.ndim - 1) + (-1,)
    scaled = g * scale.reshape(shape)
    unit = centred * inverse_std
    if bias is None:
        dx = inverse_std * (scaled - unit * mean(scaled * x) * inverse_std)
        dscale = _sum_over_pixels(g * x * inverse_std)
        return dx, dscale, None
    dx = inverse_std * (scaled - mean(scaled) - unit * mean(scaled * unit))
    return dx, _sum_over_pixels(g * unit), _sum_over_pixels(g)


def _sum_over_pixels(x: jax.Array) -> jax.Array:
    flat = x.reshape(-1, x.shape[-1])
    return jnp.ones((1, flat.shape[0]), x.dtype).dot(flat, precision="highest")[0]


_with_own_gradient.defvjp(lambda x, scale, bias, epsilon: _normalised(x, scale, bias, epsilon), _layer_norm_backward)
