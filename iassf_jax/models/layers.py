"""Convolution and resampling helpers that several parts of the networks share."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from iassf_jax.models import brightening
from iassf_jax.models.borders import pad_images
from iassf_jax.models.fast.convolutions import depthwise_same, pointwise

Weights = tuple[jax.Array, jax.Array | None]  # kernel and bias of a convolution
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def check_pair(visible: jax.Array, infrared: jax.Array) -> None:
    """Raises ValueError unless the shapes are [B, H, W, 3] and [B, H, W, 1 or 3]."""
    if visible.ndim != 4 or visible.shape[-1] != 3:
        raise ValueError(f"visible has shape {visible.shape}: give [batch, height, width, 3]")
    if infrared.ndim != 4 or infrared.shape[:3] != visible.shape[:3] or infrared.shape[-1] not in (1, 3):
        raise ValueError(
            f"infrared has shape {infrared.shape}: give [batch, height, width, 1 or 3] as visible's {visible.shape}"
        )


def add_bias(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Adds one number a channel, if there is a bias."""
    return x if bias is None else x + bias.astype(x.dtype).reshape(1, 1, 1, -1)


def conv1x1(x: jax.Array, weights: Weights) -> jax.Array:
    """1x1 convolution of float[B, H, W, I] by the kernel and the bias, if any, that `Conv1x1.weights` gives."""
    return add_bias(pointwise(x, weights[0]), weights[1])


class Conv1x1(nn.Module):
    """1x1 convolution as one matrix product over the pixels; parameters as those of `nn.Dense`."""

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def weights(self, channels: int) -> Weights:
        """Kernel float[channels, features] in the module's dtype, and bias, for an input of so many channels."""
        kernel = self.param("kernel", self.kernel_init, (channels, self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        return kernel.astype(self.dtype), bias

    def __call__(self, x: jax.Array) -> jax.Array:
        return conv1x1(x.astype(self.dtype), self.weights(x.shape[-1]))


class ImageConv(nn.Module):
    """3x3 convolution of few channels, zero padding; parameters as those of `nn.Conv`.

    One matrix product over the 9 * C values around each pixel: on a CPU several times faster than XLA's convolution.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        padded, (height, width) = pad_images(x.astype(self.dtype), 1), x.shape[1:3]
        around = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        kernel = kernel.astype(self.dtype).reshape(-1, self.features)
        return add_bias(pointwise(jnp.concatenate(around, axis=-1), kernel), bias)


class DepthwiseConv(nn.Module):
    """One k x k kernel a channel, k odd; parameters as those of a grouped `nn.Conv`. border: as in `pad_images`."""

    kernel_size: int
    use_bias: bool = False
    border: str = "zero"
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def weights(self, channels: int) -> Weights:
        """Kernel float[k, k, 1, channels] in the module's dtype, and bias."""
        kernel = self.param("kernel", self.kernel_init, (self.kernel_size, self.kernel_size, 1, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,)) if self.use_bias else None
        return kernel.astype(self.dtype), bias

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self.weights(x.shape[-1])
        return add_bias(depthwise_same(x.astype(self.dtype), kernel, self.border), bias)


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


def resize_bilinear_aligned(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Bilinear resize of [B, h, w, C] to [B, *size, C] that maps corner pixels onto corner pixels."""
    for axis, new in zip((1, 2), size, strict=True):
        old = x.shape[axis]
        if old == new:
            continue
        position = np.arange(new, dtype=np.float32) * np.float32((old - 1) / max(1, new - 1))
        low = np.minimum(position.astype(np.int32), old - 1)
        share = jnp.asarray(position - low, x.dtype).reshape([-1 if i == axis else 1 for i in range(4)])
        high = np.minimum(low + 1, old - 1)
        x = jnp.take(x, low, axis=axis) * (1 - share) + jnp.take(x, high, axis=axis) * share
    return x


def luma(images: jax.Array) -> jax.Array:
    """BT.601 luma: float[B, H, W, 3] -> float[B, H, W, 1]."""
    return brightening.luma(images)[..., None]


def halve(x: jax.Array) -> jax.Array:
    """Mean of 2x2 pixels: [B, H, W, C] -> [B, H/2, W/2, C]."""
    return rearrange(x, "b (h i) (w j) c -> b h w (i j) c", i=2, j=2).mean(axis=3)
