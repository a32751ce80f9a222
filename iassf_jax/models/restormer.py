"""Restormer blocks: MDTA, GDFN and both kinds of LayerNorm.

Source: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022, Sec. 3.
The IASSF paper builds its encoder, PEB, TF and fusion blocks from them.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from iassf_jax.models.fast.bands import Bands, Map, attention_in_bands, cut, feed_forward_in_bands
from iassf_jax.models.fast.convolutions import depthwise_same, pointwise
from iassf_jax.models.fast.devices import has_kernels
from iassf_jax.models.fast.layer_norm import layer_norm
from iassf_jax.models.fast.plain import is_plain
from iassf_jax.models.layers import Conv1x1, DepthwiseConv, Weights, add_bias, conv1x1
from iassf_jax.models.whole_image import of_whole_image, pixel_shares

NORMS = ("with_bias", "bias_free")
ALIGNMENT = 16  # channels


class LayerNorm(nn.Module):
    """Layer normalisation over the channels of [B, H, W, C], in float32.

    kind "with_bias" subtracts the mean and adds a bias; "bias_free" divides by the standard deviation only.
    """

    kind: str = "with_bias"
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def function(self, channels: int) -> Map:
        """The norm as a function of pixels [..., channels]."""
        if self.kind not in NORMS:
            raise ValueError(f"layer norm kind {self.kind!r}: use one of {', '.join(NORMS)}")
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,)) if self.kind == "with_bias" else None

        def normalise(x: jax.Array) -> jax.Array:
            return layer_norm(x.astype(jnp.float32), scale, bias, self.epsilon).astype(self.dtype)

        return normalise

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x.shape[-1])(x)


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
    height = q.shape[1]
    q, k = (rearrange(t, "b h w c -> b (h w) c") for t in (q, k))
    if is_plain():
        return _plain_products(q, k, heads, height)
    qk = jnp.einsum("bpc,bpd->bcd", q, k, preferred_element_type=jnp.float32)
    qq, kk = (jnp.square(t.astype(jnp.float32)).sum(axis=1) for t in (q, k))
    return by_heads(*(t / q.shape[1] for t in (qk, qq, kk)), heads)


def by_heads(qk: jax.Array, qq: jax.Array, kk: jax.Array, heads: int) -> ChannelProducts:
    """Of the products between all channels [B, C, C] those within the heads; and the squares [B, C].

    All channels with all, though a head needs only its own: to bring the heads apart takes longer than the products.
    """
    blocks = jnp.diagonal(rearrange(qk, "b (n c) (m d) -> b n m c d", n=heads, m=heads), 0, 1, 2)
    return ChannelProducts(jnp.moveaxis(blocks, -1, 1), *(rearrange(t, "b (n c) -> b n c", n=heads) for t in (qq, kk)))


def _plain_products(q: jax.Array, k: jax.Array, heads: int, height: int) -> ChannelProducts:
    """`channel_products` head by head; squares summed along the rows first, see `plain_operations`."""
    split = "b p (n c) -> b p n c"
    qk = jnp.einsum("bpnc,bpnd->bncd", *(rearrange(t, split, n=heads) for t in (q, k)))
    squares = (rearrange(jnp.square(t), "b (h w) (n c) -> b h w n c", h=height, n=heads) for t in (q, k))
    qq, kk = (t.sum(axis=2).sum(axis=1) for t in squares)
    return ChannelProducts(*(t / q.shape[1] for t in (qk, qq, kk)))


def channel_weights(products: ChannelProducts, temperature: jax.Array) -> jax.Array:
    """softmax(q^ k^T * temperature) with q^, k^ of unit length: float32[B, heads, c, c], each row sums to 1.

    The lengths divide the small c x c product instead of the images, which is the same and reads them once.
    """
    # rsqrt of a clamped mean: an all-zero channel gives zero and a finite gradient, where a norm gives NaN.
    q_inverse, k_inverse = (jax.lax.rsqrt(jnp.maximum(t, 1e-24)) for t in (products.qq, products.kk))
    logits = products.qk * q_inverse[..., :, None] * k_inverse[..., None, :]
    return jax.nn.softmax(logits * temperature[None, :, None, None], axis=-1)


def mix_channels(weights: jax.Array, v: jax.Array, project: jax.Array) -> jax.Array:
    """Applies `channel_weights` to the values and projects them: float[B, H, W, C] -> float[B, H, W, C']."""
    heads, height = weights.shape[1], v.shape[1]
    v = rearrange(v, "b h w c -> b (h w) c")
    if is_plain():
        mixed = jnp.einsum("bncd,bpnd->bpnc", weights, rearrange(v, "b p (n c) -> b p n c", n=heads))
        return pointwise(rearrange(mixed, "b (h w) n c -> b h w (n c)", h=height), project)
    mixed = jnp.einsum("bpc,bco->bpo", v, mixing_matrix(weights, project).astype(v.dtype))
    return rearrange(mixed, "b (h w) c -> b h w c", h=height)


def mixing_matrix(weights: jax.Array, project: jax.Array) -> jax.Array:
    """float32[B, C, C'] that mixes the values of a pixel by `channel_weights` and projects them.

    Both are linear in them, so that one matrix an image does the work of two.
    """
    kernels = rearrange(project, "(n c) o -> n c o", n=weights.shape[1]).astype(jnp.float32)
    return rearrange(jnp.einsum("bncd,nco->bndo", weights, kernels), "b n d o -> b (n d) o")


def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU by erf, as PyTorch's; `jax.nn.gelu` takes the slower erfc."""
    return 0.5 * x * (1 + jax.lax.erf(x * 0.7071067811865476))


class MDTAWeights(NamedTuple):
    """A temperature a head, and kernel and bias (or None) of each convolution."""

    temperature: jax.Array
    qkv: Weights
    convolve: Weights
    project: Weights


class MDTA(nn.Module):
    """Multi-Dconv head transposed attention (Restormer Eq. 1): float[B, H, W, C] -> float[B, H, W, C]."""

    num_heads: int
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def weights(self, channels: int) -> MDTAWeights:
        """All weights, for an input of so many channels."""
        if channels % self.num_heads:
            raise ValueError(f"{channels} channels do not divide into {self.num_heads} heads")
        temperature = self.param("temperature", nn.initializers.ones, (self.num_heads,))
        qkv = Conv1x1(3 * channels, self.use_bias, dtype=self.dtype, name="qkv")
        convolve = DepthwiseConv(3, self.use_bias, dtype=self.dtype, name="qkv_dwconv")
        project = Conv1x1(channels, self.use_bias, dtype=self.dtype, name="project_out")
        return MDTAWeights(
            temperature, qkv.weights(channels), convolve.weights(3 * channels), project.weights(channels)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        temperature, qkv, convolve, project = self.weights(x.shape[-1])
        x = conv1x1(x.astype(self.dtype), qkv)
        q, k, v = jnp.split(add_bias(depthwise_same(x, convolve[0]), convolve[1]), 3, axis=-1)
        products = of_whole_image(self, "products", lambda: channel_products(q, k, self.num_heads))
        return add_bias(mix_channels(channel_weights(products, temperature), v, project[0]), project[1])

    def in_bands(self, x: jax.Array, norm: Map, bands: Bands) -> tuple[jax.Array, jax.Array]:
        """The values [B, H, W, C] of norm(x), and the matrix [B, C, C] of which their product is the attention."""
        temperature, qkv, convolve, project = self.weights(x.shape[-1])
        means, v = attention_in_bands(x, norm, qkv[0], convolve[0], bands)
        products = of_whole_image(self, "products", lambda: by_heads(*means, self.num_heads))
        return v, mixing_matrix(channel_weights(products, temperature), project[0])


class GDFNWeights(NamedTuple):
    """Kernel and bias (or None) of each convolution, filled by `_aligned_halves` except in a plain network."""

    widen: Weights
    convolve: Weights
    narrow: Weights


class GDFN(nn.Module):
    """Gated-Dconv feed-forward network (Restormer Eq. 2): float[B, H, W, C] -> float[B, H, W, C]."""

    expansion: float = 2.66
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def weights(self, channels: int) -> GDFNWeights:
        """All weights, for an input of so many channels."""
        hidden = int(channels * self.expansion)
        project_in = Conv1x1(2 * hidden, self.use_bias, dtype=self.dtype, name="project_in")
        convolve = DepthwiseConv(3, self.use_bias, dtype=self.dtype, name="dwconv")
        project_out = Conv1x1(channels, self.use_bias, dtype=self.dtype, name="project_out")
        widen, convolve = project_in.weights(channels), convolve.weights(2 * hidden)
        narrow, bias = project_out.weights(hidden)
        if not is_plain():
            widen, convolve = (tuple(_aligned_halves(w, hidden) for w in weights) for weights in (widen, convolve))
            narrow = jnp.pad(narrow, ((0, -hidden % ALIGNMENT), (0, 0)))
        return GDFNWeights(widen, convolve, (narrow, bias))

    def __call__(self, x: jax.Array) -> jax.Array:
        widen, convolve, narrow = self.weights(x.shape[-1])
        wide = conv1x1(x.astype(self.dtype), widen)
        if has_kernels(wide) and not self.use_bias:
            from iassf_jax.models.fast import gpu_kernels

            gated = gpu_kernels.gated_depthwise_conv(wide, convolve[0])
        else:
            gated = _gate(add_bias(depthwise_same(wide, convolve[0]), convolve[1]))
        return conv1x1(gated, narrow)

    def in_bands(self, x: jax.Array, attention: tuple[jax.Array, jax.Array], norm: Map, bands: Bands) -> jax.Array:
        """y + GDFN(norm(y)), y being x and the attention that `MDTA.in_bands` gives."""
        kernels = (weights[0] for weights in self.weights(x.shape[-1]))
        return feed_forward_in_bands(x, *attention, norm, *kernels, _gate, bands)


def _aligned_halves(x: jax.Array | None, hidden: int) -> jax.Array | None:
    """Fills each half [..., hidden] of weights [..., 2 * hidden] with zeros to a multiple of `ALIGNMENT`.

    The gate of zeros is zero, so nothing changes but the speed: Restormer's 2.66 makes 63, 127 and 255 channels of 24,
    48 and 96, one less than what vector units and matrix products take without remainders.
    """
    if x is None:
        return None
    halves = x.reshape(*x.shape[:-1], 2, hidden)
    halves = jnp.pad(halves, (*((0, 0),) * x.ndim, (0, -hidden % ALIGNMENT)))
    return halves.reshape(*x.shape[:-1], -1)


def _gate(x: jax.Array) -> jax.Array:
    """GELU of the first half of the channels, times the second."""
    first, second = jnp.split(x, 2, axis=-1)
    return gelu(first) * second


class RestormerBlock(nn.Module):
    """x + MDTA(norm(x)), then x + GDFN(norm(x)): float[B, H, W, C] -> float[B, H, W, C]."""

    num_heads: int
    expansion: float = 2.66
    use_bias: bool = False
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm1, norm2 = (LayerNorm(self.norm, dtype=self.dtype, name=name) for name in ("norm1", "norm2"))
        attention = MDTA(self.num_heads, self.use_bias, dtype=self.dtype, name="attn")
        feed_forward = GDFN(self.expansion, self.use_bias, dtype=self.dtype, name="ffn")
        if (bands := cut(x)) and not self.use_bias:
            norms = [norm.function(x.shape[-1]) for norm in (norm1, norm2)]
            return feed_forward.in_bands(x, attention.in_bands(x, norms[0], bands), norms[1], bands)
        x = x + attention(norm1(x))
        return x + feed_forward(norm2(x))
