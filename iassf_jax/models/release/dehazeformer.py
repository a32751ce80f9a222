"""Blocks of DehazeFormer, of which the authors' released network is made.

Source: Song et al., "Vision Transformers for Single Image Dehazing", IEEE TIP 2023: rescale layer normalisation,
window attention with a learned bias and a parallel convolution, SK fusion.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from iassf_jax.models.borders import mirror_pad
from iassf_jax.models.fast import bands
from iassf_jax.models.fast.bands import Map, in_rows
from iassf_jax.models.layers import Conv1x1, DepthwiseConv, Weights, conv1x1
from iassf_jax.models.whole_image import of_whole_image, pixel_mean

WINDOW = 8
# DehazeFormer's: residual branches start small, after the depth of its body, 32 blocks.
_xavier = nn.initializers.variance_scaling(1.0, "fan_avg", "truncated_normal")
_branch = nn.initializers.variance_scaling((8 * 32) ** -0.5, "fan_avg", "truncated_normal")
_small = nn.initializers.truncated_normal(0.02)


class NormParts(NamedTuple):
    """What normalises an image, y = (x - mean) * factor + bias, and brings it back: y * rescale + rebias.

    float[B, 1, 1, 1 or C] each.
    """

    mean: jax.Array
    factor: jax.Array
    bias: jax.Array
    rescale: jax.Array
    rebias: jax.Array

    def normalise(self, x: jax.Array) -> jax.Array:
        """y, in float32."""
        return (x.astype(jnp.float32) - self.mean) * self.factor + self.bias

    def bring_back(self, y: jax.Array) -> jax.Array:
        """In the dtype of y."""
        return y * self.rescale.astype(y.dtype) + self.rebias.astype(y.dtype)


class RescaleLayerNorm(nn.Module):
    """Normalises each image of [B, H, W, C] over all its values, in float32; the result has the parts for it."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> NormParts:
        channels = x.shape[-1]
        x = x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        mean = of_whole_image(self, "mean", lambda: pixel_mean(x).mean(axis=3, keepdims=True))
        variance = of_whole_image(
            self, "variance", lambda: pixel_mean(jnp.square(x - mean)).mean(axis=3, keepdims=True)
        )
        std = jnp.sqrt(variance + self.epsilon)
        rescale = Conv1x1(channels, kernel_init=_small, bias_init=nn.initializers.ones, name="meta1")(std)
        rebias = Conv1x1(channels, kernel_init=_small, name="meta2")(mean)
        bias = jnp.broadcast_to(bias.reshape(1, 1, 1, -1), rebias.shape)
        return NormParts(mean, scale.reshape(1, 1, 1, -1) / std, bias, rescale, rebias)


def relative_positions() -> np.ndarray:
    """float32[64, 64, 2]: sign(d) * log(1 + |d|) of the (row, column) difference d of two pixels of a window."""
    pixels = np.stack(np.meshgrid(np.arange(WINDOW), np.arange(WINDOW), indexing="ij"), axis=-1).reshape(-1, 2)
    difference = (pixels[:, None] - pixels[None, :]).astype(np.float64)
    return (np.sign(difference) * np.log1p(np.abs(difference))).astype(np.float32)


class PositionBias(nn.Module):
    """Attention bias float32[heads, 64, 64] from relative positions, by two dense layers."""

    num_heads: int

    @nn.compact
    def __call__(self) -> jax.Array:
        # Of the 4096 pairs of pixels only 225 differ in their relative position.
        unique, index = np.unique(relative_positions().reshape(-1, 2), axis=0, return_inverse=True)
        hidden = nn.relu(nn.Dense(256, name="meta_0")(jnp.asarray(unique)))
        bias = nn.Dense(self.num_heads, name="meta_2")(hidden)
        return bias[index.reshape(-1)].T.reshape(self.num_heads, WINDOW**2, WINDOW**2)


def window_attention(x: jax.Array, project: Map, bias: jax.Array, shift: int) -> jax.Array:
    """Attention within 8x8 windows of an image, mirrored where it does not fill them.

    Args:
        x: float[B, H, W, I].
        project: makes queries, keys and values [..., 3 * C] of pixels [..., I].
        bias: float32[heads, 64, 64], added to the logits.
        shift: windows start so many pixels above and left of the image.

    Returns:
        float[B, H, W, C].
    """
    height, width = x.shape[1:3]
    for axis in (1, 2):
        missing = -x.shape[axis] % WINDOW
        after = (WINDOW - shift + missing) % WINDOW if shift else missing
        x = mirror_pad(x, shift, after, axis, "reflect")

    def attend(rows: jax.Array) -> jax.Array:
        return _attend(project(rows), bias)

    # A row of windows at a time: its projections and 64 x 64 weights stay in a CPU's caches.
    out = bands.by_rows(attend, (x,), bands.Bands(x.shape[1] // WINDOW, WINDOW)) if bands.cut(x) else attend(x)
    return out[:, shift : shift + height, shift : shift + width]


def _attend(qkv: jax.Array, bias: jax.Array) -> jax.Array:
    """`window_attention` of an image that its windows fill."""
    heads, rows, channels = bias.shape[0], qkv.shape[1] // WINDOW, qkv.shape[3] // 3
    q, k, v = rearrange(qkv, "b (r y) (s x) (t n c) -> t b r s n (y x) c", y=WINDOW, x=WINDOW, t=3, n=heads, r=rows)
    q, k, v = jax.lax.optimization_barrier((q * (channels // heads) ** -0.5, k, v))
    logits = jnp.einsum("...qc,...kc->...qk", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits + bias.reshape(1, 1, 1, *bias.shape), axis=-1).astype(v.dtype)
    out = jnp.einsum("...qk,...kc->...qc", weights, v)
    return rearrange(out, "b r s n (y x) c -> b (r y) (s x) (n c)", y=WINDOW)


class Attention(nn.Module):
    """Window attention and, beside it, a depthwise 5x5 convolution of the values: [B, H, W, C] -> [B, H, W, C].

    Either may be switched off: `num_heads=0` leaves the convolution, `conv=False` leaves the attention.
    """

    num_heads: int
    shift: int = 0
    conv: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def branches(self, x: jax.Array) -> tuple[tuple[jax.Array, ...], Weights]:
        """The maps [B, H, W, C] of attention and convolution, and the weights of the projection of their sum."""
        channels = x.shape[-1]
        x = x.astype(self.dtype)
        v = Conv1x1(channels, dtype=self.dtype, kernel_init=_branch, name="V").weights(channels)
        maps, values = [], None
        if self.num_heads:
            qk = Conv1x1(2 * channels, dtype=self.dtype, kernel_init=_xavier, name="QK").weights(channels)
            qkv = tuple(jnp.concatenate(pair, axis=-1) for pair in zip(qk, v, strict=True))  # kernels and biases
            bias = PositionBias(self.num_heads, name="attn")()
            if bands.cut(x):  # in strips; the values are made once more, which is less than keeping them
                maps.append(window_attention(x, lambda rows: conv1x1(rows, qkv), bias, self.shift))
            else:  # one product for all three: x is read once
                x = conv1x1(x, qkv)
                values = x[..., -channels:]
                maps.append(window_attention(x, lambda rows: rows, bias, self.shift))
        if self.conv:
            conv = DepthwiseConv(5, True, border="reflect", dtype=self.dtype, kernel_init=_branch, name="conv")
            maps.append(conv(conv1x1(x, v) if values is None else values))
        project = Conv1x1(channels, dtype=self.dtype, kernel_init=_branch, name="proj")
        return tuple(maps), project.weights(channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        maps, project = self.branches(x)
        return conv1x1(sum(maps), project)


class Mlp(nn.Module):
    """1x1 convolution to `hidden`, ReLU, 1x1 back."""

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def function(self, channels: int) -> Map:
        """As a function [B, H, W, C] -> [B, H, W, C] of images of so many channels."""
        widen = Conv1x1(self.hidden, dtype=self.dtype, kernel_init=_branch, name="mlp_0").weights(channels)
        narrow = Conv1x1(channels, dtype=self.dtype, kernel_init=_branch, name="mlp_2").weights(self.hidden)
        return lambda x: conv1x1(nn.relu(conv1x1(x.astype(self.dtype), widen)), narrow)


class TransformerBlock(nn.Module):
    """Attention (normalised only where there is attention), then Mlp: [B, H, W, C] -> [B, H, W, C]."""

    num_heads: int
    mlp_ratio: int
    shift: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        attention = Attention(self.num_heads, self.shift, dtype=self.dtype, name="attn")
        feed_forward = Mlp(self.mlp_ratio * channels, dtype=self.dtype, name="mlp").function(channels)
        norm = RescaleLayerNorm(name="norm1")(x) if self.num_heads else None
        maps, project = attention.branches(norm.normalise(x) if norm else x)

        def rest(x: jax.Array, *parts: jax.Array) -> jax.Array:
            maps_here, norm_here = parts[: len(maps)], parts[len(maps) :]
            y = conv1x1(sum(maps_here), project)
            x = x + (NormParts(*norm_here).bring_back(y) if norm else y)
            return x + feed_forward(x)

        return in_rows(rest, (x, *maps), norm or ())


class BasicLayer(nn.Module):
    """`depth` blocks, of which the last `attention_ratio` attend, in windows shifted by half in every other block."""

    depth: int
    num_heads: int
    mlp_ratio: int
    attention_ratio: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.depth):
            heads = self.num_heads if i >= self.depth * (1 - self.attention_ratio) else 0
            shift = WINDOW // 2 if i % 2 else 0
            x = TransformerBlock(heads, self.mlp_ratio, shift, self.dtype, name=f"blocks_{i}")(x)
        return x


class SKFusion(nn.Module):
    """Mixes two maps [B, H, W, C] by weights of each channel that follow from their mean."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        channels = a.shape[-1]
        mean = of_whole_image(self, "mean", lambda: pixel_mean(a + b))
        hidden = nn.relu(Conv1x1(max(channels // 8, 4), use_bias=False, name="mlp_0")(mean))
        weights = Conv1x1(2 * channels, use_bias=False, name="mlp_2")(hidden)
        weights = jax.nn.softmax(rearrange(weights, "b h w (t c) -> t b h w c", t=2), axis=0).astype(a.dtype)
        return weights[0] * a + weights[1] * b
