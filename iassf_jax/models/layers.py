"""Convolution and resampling helpers that several parts of the networks share."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def shifted_depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Depthwise convolution, zero padding, as a sum of shifted products.

    On a CPU XLA fuses this into one loop, several times faster than its grouped convolution.

    Args:
        x: float[B, H, W, C].
        kernel: float[kh, kw, 1, C], kh and kw odd.

    Returns:
        float[B, H, W, C].
    """
    kh, kw = kernel.shape[:2]
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    taps = [
        padded[:, i : i + height, j : j + width, :] * kernel[i, j].reshape(1, 1, 1, -1)
        for i in range(kh)
        for j in range(kw)
    ]
    return sum(taps[1:], taps[0])


def lax_depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The plain form of `shifted_depthwise_conv`: XLA's grouped convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@jax.custom_vjp
def depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Depthwise convolution in the form that is fast on the device that the program is compiled for."""
    return jax.lax.platform_dependent(x, kernel, cpu=shifted_depthwise_conv, default=lax_depthwise_conv)


def _depthwise_conv_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    kernel_gradient = jax.lax.platform_dependent(x, kernel, g, cpu=_kernel_gradient_by_rows, default=_kernel_gradient)
    return depthwise_conv(g, kernel[::-1, ::-1]), kernel_gradient


def _kernel_gradient(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
    return jax.vjp(lambda k: lax_depthwise_conv(x, k), kernel)[1](g)[0]


def _kernel_gradient_by_rows(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
    """Row by row, so that no shifted copy of the image is ever written."""
    kh, kw, _, channels = kernel.shape
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    padded, g = jax.lax.optimization_barrier((padded, g))

    def add_row(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        g_row = jax.lax.dynamic_index_in_dim(g, i, axis=1, keepdims=False).astype(jnp.float32)
        rows = jax.lax.dynamic_slice_in_dim(padded, i, kh, axis=1).astype(jnp.float32)
        taps = [(rows[:, a, b : b + width] * g_row).sum(axis=(0, 1)) for a in range(kh) for b in range(kw)]
        return total + jnp.stack(taps), None

    total, _ = jax.lax.scan(add_row, jnp.zeros((kh * kw, channels)), jnp.arange(height))
    return total.reshape(kernel.shape).astype(kernel.dtype)


depthwise_conv.defvjp(lambda x, kernel: (depthwise_conv(x, kernel), (x, kernel)), _depthwise_conv_backward)


@jax.custom_vjp
def pointwise_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """1x1 convolution without bias: float[B, H, W, I] times float[I, O] -> float[B, H, W, O]."""
    return x @ kernel


def _pointwise_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    kernel_gradient = jax.lax.platform_dependent(x, g, cpu=_product_over_pixels_by_rows, default=_product_over_pixels)
    return g @ kernel.T, kernel_gradient.astype(kernel.dtype)


def _product_over_pixels(x: jax.Array, g: jax.Array) -> jax.Array:
    return jnp.einsum("bhwi,bhwo->io", x, g, preferred_element_type=jnp.float32)


def _product_over_pixels_by_rows(x: jax.Array, g: jax.Array) -> jax.Array:
    """In a loop over bands of rows: XLA on a CPU transposes g for this product, and as one operation it recomputes
    within that strided copy whatever g comes from (seen: 500 of 600 ms of a GDFN's backward pass)."""
    rows = next(n for n in (8, 4, 2, 1) if x.shape[1] % n == 0)

    def add_band(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        band_x, band_g = (jax.lax.dynamic_slice_in_dim(t, i * rows, rows, axis=1) for t in (x, g))
        return total + _product_over_pixels(band_x, band_g), None

    total = jnp.zeros((x.shape[-1], g.shape[-1]))
    return jax.lax.scan(add_band, total, jnp.arange(x.shape[1] // rows))[0]


pointwise_product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _pointwise_backward)


class Conv1x1(nn.Module):
    """1x1 convolution as one matrix product over the pixels; parameters as those of `nn.Dense`."""

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        x = pointwise_product(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x = x + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return x


class DepthwiseConv(nn.Module):
    """One k x k kernel a channel, zero padding; parameters as those of a grouped `nn.Conv`."""

    kernel_size: int
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        x = depthwise_conv(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
            x = x + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return x


class Downsample(nn.Module):
    """2x2 convolution with stride 2, written as one matrix product: [B, H, W, C] -> [B, H/2, W/2, features]."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = rearrange(x, "b (h i) (w j) c -> b h w (i j c)", i=2, j=2)
        return Conv1x1(self.features, dtype=self.dtype, name="merge")(x)


class Upsample(nn.Module):
    """1x1 convolution and pixel shuffle: [B, H, W, C] -> [B, 2H, 2W, features]."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv1x1(4 * self.features, dtype=self.dtype, name="split")(x)
        return rearrange(x, "b h w (i j c) -> b (h i) (w j) c", i=2, j=2)


def resize_bilinear(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Bilinear resize of [B, h, w, C] to [B, *size, C], half-pixel centres, no antialiasing."""
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)


def halve(x: jax.Array) -> jax.Array:
    """Mean of 2x2 pixels: [B, H, W, C] -> [B, H/2, W/2, C]."""
    return rearrange(x, "b (h i) (w j) c -> b h w (i j) c", i=2, j=2).mean(axis=3)


def pad_to_multiple(x: jax.Array, multiple: int) -> jax.Array:
    """Mirror-pads [B, H, W, C] at the right and the bottom until H and W are multiples of `multiple`."""
    bottom, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    if not (bottom or right):
        return x
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="symmetric")
