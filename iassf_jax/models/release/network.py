"""The network of the authors' PyTorch release, not the paper's: with their weights it gives their numbers.

Our own code, after a description of what their network computes. Its blocks are DehazeFormer's.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.errors import UserError
from iassf_jax.models.borders import pad_images, pad_to_multiple
from iassf_jax.models.fast.bands import in_rows
from iassf_jax.models.layers import DTYPES, Conv1x1, Downsample, Upsample, check_pair, conv1x1, resize_bilinear_aligned
from iassf_jax.models.release.dehazeformer import Attention, BasicLayer, Mlp, NormParts, RescaleLayerNorm, SKFusion
from iassf_jax.models.release.haze import channel_mean, extremes, scaled_release_haze_density
from iassf_jax.models.whole_image import (
    Region,
    estimate_haze,
    of_whole_image,
    pixel_mean,
    resize_aligned_into,
    resize_into,
)

NUM_PROMPTS = 5


class ReflectConv(nn.Module):
    """3x3 convolution with reflected borders: [B, H, W, C] -> [B, H, W, features]."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # Cut off again, since XLA on a CPU takes five times as long for a convolution without padding.
        conv = nn.Conv(self.features, (3, 3), dtype=self.dtype, name="proj")
        return conv(pad_images(x, 1, "reflect"))[:, 1:-1, 1:-1]


class EncoderBlock(nn.Module):
    """1x1 convolution to C channels, then window attention and Mlp, each rescaled: [B, H, W, I] -> [B, H, W, C]."""

    channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv1x1(self.channels, dtype=self.dtype, name="mlp")(x)
        feed_forward = Mlp(int(2.66 * self.channels), dtype=self.dtype, name="ffn").function(self.channels)
        norm = RescaleLayerNorm(name="norm1")(x)
        (attended,), project = Attention(1, conv=False, dtype=self.dtype, name="attn").branches(norm.normalise(x))

        def add_attention(x: jax.Array, attended: jax.Array, *norm: jax.Array) -> jax.Array:
            return x + NormParts(*norm).bring_back(conv1x1(attended, project))

        def add_feed_forward(x: jax.Array, *norm: jax.Array) -> jax.Array:
            norm = NormParts(*norm)
            return x + norm.bring_back(feed_forward(norm.normalise(x)))

        x = in_rows(add_attention, (x, attended), norm)
        return in_rows(add_feed_forward, (x,), RescaleLayerNorm(name="norm2")(x))


class PromptPool(nn.Module):
    """Mean of the learned prompts, weighted by what two images do not share.

    `mixed` puts a 1x1 convolution in front of the selection. Returns the selected prompt, float[B, side, side, C], and
    the weights, float32[B, 5].
    """

    channels: int
    side: int
    mixed: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, difference: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = of_whole_image(self, "mean", lambda: pixel_mean(difference))
        if self.mixed:  # the convolution commutes with the mean
            mean = Conv1x1(self.channels, use_bias=False, name="conv1")(mean)
        weights = jax.nn.softmax(nn.Dense(NUM_PROMPTS, name="linear_layer")(mean[:, 0, 0]), axis=-1)
        shape = (NUM_PROMPTS, self.side, self.side, self.channels)
        pool = self.param("prompt_param", nn.initializers.uniform(1.0), shape)
        return jnp.einsum("bn,nhwc->bhwc", weights, pool).astype(self.dtype), weights


class PromptEmbedding(nn.Module):
    """Window attention over [features, prompt], then 1x1 and 3x3 convolutions back to the features' C channels."""

    num_heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, prompt: jax.Array) -> jax.Array:
        channels = features.shape[-1]
        x = jnp.concatenate([features, prompt], axis=-1)
        x = Attention(self.num_heads, conv=False, dtype=self.dtype, name="attention")(x)
        x = Conv1x1(channels, use_bias=False, dtype=self.dtype, name="conv1x1")(x)
        return nn.Conv(channels, (3, 3), use_bias=False, dtype=self.dtype, name="conv3x3")(x)


class DehazeNetwork(nn.Module):
    """Restores the visible image, and makes an RGB image of the infrared features."""

    depths: tuple[int, ...] = (8, 8, 8, 4, 4)
    prompt_size: int = 256
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        visible: jax.Array,
        infrared: jax.Array,
        density: Callable[[jax.Array], jax.Array],
        region: Region | None = None,
    ) -> dict[str, jax.Array]:
        """Every stage by name, see `ReleasedIASSF`; `density` makes the haze density of the visible features."""
        both = EncoderBlock(24, self.dtype, name="encoder")(jnp.concatenate([visible, infrared]))
        f_vi, f_ir = jnp.split(both, 2)
        out = {"vi_feature": f_vi, "ir_feature": f_ir, "ir_rgb": Conv1x1(3, dtype=self.dtype, name="ir_to_image")(f_ir)}

        pool = PromptPool(24, self.prompt_size, dtype=self.dtype, name="prompt_pool")
        prompt, out["prompt_weights_ir"] = pool(f_vi - f_ir)
        size = f_ir.shape[1:3]
        prompt = resize_into(prompt, size, region)
        prompt = nn.Conv(24, (3, 3), use_bias=False, dtype=self.dtype, name="prompt_conv3x3")(prompt)
        embedded = PromptEmbedding(2, self.dtype, name="prompt_embedding")(f_ir, prompt)
        out |= {"prompt": prompt, "ir_embedded": embedded}

        out["haze_density"] = density(f_vi)
        share = out["haze_density"][..., None].astype(self.dtype)
        out["dehazed"] = self._body(embedded * share + f_vi * (1 - share) + f_vi)
        return out

    def _body(self, x: jax.Array) -> jax.Array:
        """U of transformer blocks, [B, H, W, 24] -> [B, H, W, 3]; H and W are multiples of 4."""
        dtype = self.dtype

        def layer(x: jax.Array, i: int) -> jax.Array:
            heads, mlp_ratio = (2, 4, 6, 1, 1)[i], (2, 4, 4, 2, 2)[i]
            attention_ratio = (1 / 4, 1 / 2, 3 / 4, 0, 0)[i]
            return BasicLayer(self.depths[i], heads, mlp_ratio, attention_ratio, dtype, name=f"layer{i + 1}")(x)

        x = ReflectConv(24, dtype, name="patch_embed")(x)
        skips = [Conv1x1(24, dtype=dtype, name="skip0")(x)]
        for i, width in enumerate((24, 48)):
            x = layer(x, i)
            skips.append(Conv1x1(width, dtype=dtype, name=f"skip{i + 1}")(x))
            x = Downsample(2 * width, dtype=dtype, name=f"patch_merge{i + 1}")(x)
        x = layer(x, 2)
        for i, width in enumerate((48, 24)):
            x = Upsample(width, dtype=dtype, name=f"patch_split{i + 1}")(x)
            x = SKFusion(dtype, name=f"fusion{i + 1}")(x, skips.pop()) + x
            x = layer(x, 3 + i)
        x = SKFusion(dtype, name="fusion3")(x, skips.pop()) + x
        return ReflectConv(3, dtype, name="patch_unembed")(x)


class FusionNetwork(nn.Module):
    """U of five encoder blocks with embedded prompts: two images [B, H, W, 3] -> the fused one [B, H, W, 3]."""

    prompt_size: int = 256
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, dehazed: jax.Array, ir_rgb: jax.Array, region: Region | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the fused image and the prompts' weights, float32[B, 5]; H and W are multiples of 4."""
        dtype = self.dtype
        pool = PromptPool(6, self.prompt_size, mixed=True, dtype=dtype, name="prompt_pool")
        prompt, weights = pool(ir_rgb - dehazed)
        size = dehazed.shape[1:3]
        if region is None:
            prompt = resize_bilinear_aligned(prompt, size)
        else:
            prompt = resize_aligned_into(prompt, size, Region.whole(prompt), region)
        prompt = nn.Conv(6, (3, 3), use_bias=False, dtype=dtype, name="prompt_conv3x3")(prompt)
        prompt = Conv1x1(6, use_bias=False, dtype=dtype, name="prompt_conv1x1")(prompt)

        def resize(x: jax.Array, old: int, new: int) -> jax.Array:
            """Brings a map from one level of the U to another."""
            height, width = (n // 2**new for n in size)
            if region is None:
                return resize_bilinear_aligned(x, (height, width))
            return resize_aligned_into(x, (height, width), region.at(old), region.at(new))

        def block(x: jax.Array, name: str, channels: int, level: int) -> jax.Array:
            x = EncoderBlock(channels, dtype, name=name)(x)
            level_prompt = resize(prompt, 0, level)
            level_prompt = Conv1x1(channels, use_bias=False, dtype=dtype, name=f"{name}_prompt")(level_prompt)
            return PromptEmbedding(1, dtype, name=f"{name}_embedding")(x, level_prompt) + x

        x = jnp.concatenate([dehazed, ir_rgb], axis=-1)
        skip1 = block(x, "encoder1", 6, 0)
        skip2 = block(_max_pool(skip1), "encoder2", 12, 1)
        x = block(_max_pool(skip2), "encoder3", 24, 2)
        x = block(resize(x, 2, 1), "decoder3", 12, 1) + Conv1x1(12, dtype=dtype, name="skip_conv2")(skip2)
        x = block(resize(x, 1, 0), "decoder2", 6, 0) + Conv1x1(6, dtype=dtype, name="skip_conv1")(skip1)
        return Conv1x1(3, dtype=dtype, name="final_conv")(x), weights


def _max_pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))


class ReleasedIASSF(nn.Module):
    """The released network: 11,197,422 parameters that it uses, 17.2 GMAC for a 256x256 pair.

    `depths` and `prompt_size` are those of the release; others make a network that its weights do not fit.
    """

    depths: tuple[int, ...] = (8, 8, 8, 4, 4)
    prompt_size: int = 256
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuses settings that make no network.

        Raises:
            UserError: says which and what to use.
        """
        super().__post_init__()
        if len(self.depths) != 5 or min(self.depths) < 0:
            raise UserError(f"model.depths is {self.depths}: give five counts")
        if self.prompt_size < 1:
            raise UserError(f"model.prompt_size is {self.prompt_size}: use 1 or more")
        if self.dtype not in DTYPES:
            raise UserError(f"model.dtype is {self.dtype!r}: use one of {', '.join(DTYPES)}")

    @property
    def size_multiple(self) -> int:
        """Height and width are padded inside to a multiple of this."""
        return 4

    def haze_planes(self, vi_feature: jax.Array) -> tuple[jax.Array, ...]:
        """All that the haze estimator reads of the features [B, H, W, C]: maps float32[B, H, W]."""
        return (channel_mean(vi_feature),)

    def haze_scale(self, planes: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        """What the haze estimator takes from the whole image: the mean's lowest and highest value, float32[B] each."""
        return extremes(planes[0])

    def scaled_haze_density(self, planes: tuple[jax.Array, ...], scale: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The haze density float32[B, H, W] of maps that have the scale of the whole image."""
        return scaled_release_haze_density(planes[0], *scale)

    @nn.compact
    def __call__(
        self,
        visible: jax.Array,
        infrared: jax.Array,
        haze_density: jax.Array | None = None,
        region: Region | None = None,
    ) -> dict[str, jax.Array]:
        """Restores and fuses a batch of pairs.

        Args:
            visible: float[B, H, W, 3] in [-1, 1], hazy; any size. The release takes multiples of 4, and there the
                numbers are the same; others are mirrored up to one and cropped.
            infrared: float[B, H, W, 1 or 3] in [-1, 1], aligned with the visible image.
            haze_density: float[B, H, W], used instead of the estimated one.
            region: where the images lie in larger ones, if they are tiles; every number is a multiple of 32, the
                windows of the lowest level.

        Returns:
            Every stage by name, in float32: `dehazed`, `fused`, `ir_rgb` (an image of the infrared features)
            float[B, H, W, 3] in about [-1, 1]; `haze_density` float[B, H, W], about 0 to 1, not clipped; features
            `vi_feature`, `ir_feature`, `prompt`, `ir_embedded` float[B, H, W, 24]; selection weights
            `prompt_weights_ir`, `prompt_weights_vi` float[B, 5].

        Raises:
            ValueError: shapes that do not belong together.
        """
        check_pair(visible, infrared)
        height, width = visible.shape[1:3]
        infrared = jnp.broadcast_to(infrared, visible.shape)
        visible, infrared = (pad_to_multiple(x, self.size_multiple, "reflect") for x in (visible, infrared))
        if haze_density is not None:
            haze_density = pad_to_multiple(haze_density[..., None], self.size_multiple, "reflect")[..., 0]
        dtype = DTYPES[self.dtype]
        dehaze = DehazeNetwork(self.depths, self.prompt_size, dtype, name="dehaze")
        fuse = FusionNetwork(self.prompt_size, dtype, name="fusion")

        def density(f_vi: jax.Array) -> jax.Array:
            return estimate_haze(self, f_vi) if haze_density is None else haze_density

        out = dehaze(visible, infrared, density, region)
        out["fused"], out["prompt_weights_vi"] = fuse(out["dehazed"], out["ir_rgb"], region)
        out = {name: x.astype(jnp.float32) for name, x in out.items()}
        return {name: x if x.ndim == 2 else x[:, :height, :width] for name, x in out.items()}
