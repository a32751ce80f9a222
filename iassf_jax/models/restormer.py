"""Restormer blocks: MDTA, GDFN and both kinds of LayerNorm.

Source: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022, Sec. 3.
The IASSF paper builds its encoder, PEB, TF and fusion blocks from them.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from iassf_jax.models.layers import Conv1x1, DepthwiseConv
from iassf_jax.models.plain import is_plain
from iassf_jax.models.whole_image import of_whole_image, pixel_shares

NORMS = ("with_bias", "bias_free")


class LayerNorm(nn.Module):
    """Layer normalisation over the channels of [B, H, W, C], in float32.

    kind "with_bias" subtracts the mean and adds a bias; "bias_free" divides by the standard deviation only.
    """

    kind: str = "with_bias"
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind not in NORMS:
            raise ValueError(f"layer norm kind {self.kind!r}: use one of {', '.join(NORMS)}")
        channels = x.shape[-1]
        x = x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        mean = x.mean(axis=-1, keepdims=True)
        centred = x - mean
        inverse_std = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + self.epsilon)
        y = (x if self.kind == "bias_free" else centred) * inverse_std * scale.reshape(1, 1, 1, -1)
        if self.kind == "with_bias":
            bias = self.param("bias", nn.initializers.zeros, (channels,))
            y = y + bias.reshape(1, 1, 1, -1)
        return y.astype(self.dtype)


class ChannelProducts(NamedTuple):
    """Means over all pixels, float32: of products `qk` [B, heads, c, c], and of squares `qq`, `kk` [B, heads, c]."""

    qk: jax.Array
    qq: jax.Array
    kk: jax.Array


def channel_products(q: jax.Array, k: jax.Array, heads: int) -> ChannelProducts:
    """What the attention between channels reads of queries and keys, float[B, H, W, C]; c = C / heads."""
    shares = pixel_shares(*q.shape[1:3])
    if shares is not None:
        root = jnp.sqrt(shares * shares.size)[None, :, :, None].astype(q.dtype)
        q, k = q * root, k * root
    rows = q.shape[1]
    q, k = (rearrange(t, "b h w (n c) -> b (h w) n c", n=heads) for t in (q, k))
    qk = jnp.einsum("bpnc,bpnd->bncd", q, k, preferred_element_type=jnp.float32)
    qq, kk = (_pixel_sum(jnp.square(t.astype(jnp.float32)), rows) for t in (q, k))
    return ChannelProducts(*(t / q.shape[1] for t in (qk, qq, kk)))


def _pixel_sum(x: jax.Array, rows: int) -> jax.Array:
    """Sum over the pixels of `rows` rows: float32[B, H * W, n, c] -> float32[B, n, c]."""
    if is_plain():
        x = rearrange(x, "b (h w) n c -> b h w n c", h=rows).sum(axis=2)
    return x.sum(axis=1)


def channel_weights(products: ChannelProducts, temperature: jax.Array) -> jax.Array:
    """softmax(q^ k^T * temperature) with q^, k^ of unit length: float32[B, heads, c, c], each row sums to 1.

    The lengths divide the small c x c product instead of the images, which is the same and reads them once.
    """
    # rsqrt of a clamped mean: an all-zero channel gives zero and a finite gradient, where a norm gives NaN.
    q_inverse, k_inverse = (jax.lax.rsqrt(jnp.maximum(t, 1e-24)) for t in (products.qq, products.kk))
    logits = products.qk * q_inverse[..., :, None] * k_inverse[..., None, :]
    return jax.nn.softmax(logits * temperature[None, :, None, None], axis=-1)


def mix_channels(weights: jax.Array, v: jax.Array) -> jax.Array:
    """Applies `channel_weights` to the values: float[B, H, W, C] -> float[B, H, W, C]."""
    heads, height = weights.shape[1], v.shape[1]
    v = rearrange(v, "b h w (n c) -> b (h w) n c", n=heads)
    out = jnp.einsum("bncd,bpnd->bpnc", weights.astype(v.dtype), v)
    return rearrange(out, "b (h w) n c -> b h w (n c)", h=height)


def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU by erf, as PyTorch's; `jax.nn.gelu` takes the slower erfc."""
    return 0.5 * x * (1 + jax.lax.erf(x * 0.7071067811865476))


class MDTA(nn.Module):
    """Multi-Dconv head transposed attention (Restormer Eq. 1): float[B, H, W, C] -> float[B, H, W, C]."""

    num_heads: int
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        if channels % self.num_heads:
            raise ValueError(f"{channels} channels do not divide into {self.num_heads} heads")
        temperature = self.param("temperature", nn.initializers.ones, (self.num_heads,))
        qkv = Conv1x1(3 * channels, self.use_bias, dtype=self.dtype, name="qkv")(x)
        qkv = DepthwiseConv(3, self.use_bias, dtype=self.dtype, name="qkv_dwconv")(qkv)
        q, k, v = jnp.split(qkv, 3, axis=-1)
        products = of_whole_image(self, "products", lambda: channel_products(q, k, self.num_heads))
        out = mix_channels(channel_weights(products, temperature), v)
        return Conv1x1(channels, self.use_bias, dtype=self.dtype, name="project_out")(out)


class GDFN(nn.Module):
    """Gated-Dconv feed-forward network (Restormer Eq. 2): float[B, H, W, C] -> float[B, H, W, C]."""

    expansion: float = 2.66
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        hidden = int(channels * self.expansion)
        x = Conv1x1(2 * hidden, self.use_bias, dtype=self.dtype, name="project_in")(x)
        x = DepthwiseConv(3, self.use_bias, dtype=self.dtype, name="dwconv")(x)
        gate, value = jnp.split(x, 2, axis=-1)
        x = gelu(gate) * value
        return Conv1x1(channels, self.use_bias, dtype=self.dtype, name="project_out")(x)


class RestormerBlock(nn.Module):
    """x + MDTA(norm(x)), then x + GDFN(norm(x)): float[B, H, W, C] -> float[B, H, W, C]."""

    num_heads: int
    expansion: float = 2.66
    use_bias: bool = False
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = LayerNorm(self.norm, dtype=self.dtype, name="norm1")(x)
        x = x + MDTA(self.num_heads, self.use_bias, dtype=self.dtype, name="attn")(y)
        y = LayerNorm(self.norm, dtype=self.dtype, name="norm2")(x)
        return x + GDFN(self.expansion, self.use_bias, dtype=self.dtype, name="ffn")(y)
