"""Infrared-assisted feature restoration (IA-FRM, Eq. 5): mixes the candidates by haze density, then TF."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.models.layers import Conv1x1, Downsample, Upsample, luma, steady_border
from iassf_jax.models.modulation import GlobalModulation
from iassf_jax.models.prompts import num_heads
from iassf_jax.models.refinement import follow_edges
from iassf_jax.models.resampling import pixel_shuffle, pixel_unshuffle, resample
from iassf_jax.models.restormer import RestormerBlock
from iassf_jax.models.scattering import corrected_transmission
from iassf_jax.models.whole_image import Region


class TF(nn.Module):
    """U-shaped stack of Restormer blocks: float[B, H, W, C] -> float[B, H, W, C].

    `blocks` counts the blocks of each level on the way down, at the bottom, and on the way up; its length is odd.
    The width doubles a level; H and W are multiples of 2 ** (len(blocks) // 2).
    """

    blocks: tuple[int, ...] = (1, 1, 2, 1, 1)
    heads_per_channels: int = 24
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        depth = len(self.blocks) // 2
        channels = x.shape[-1]
        skips = []
        for level, count in enumerate(self.blocks[: depth + 1]):
            if level:
                skips.append(x)
                x = Downsample(channels << level, dtype=self.dtype, name=f"down{level}")(x)
            x = self._level(x, f"encoder{level + 1}", count)
        for level in reversed(range(depth)):
            width = channels << level
            x = Upsample(width, dtype=self.dtype, name=f"up{level + 1}")(x)
            x = jnp.concatenate([x, skips.pop()], axis=-1)
            x = Conv1x1(width, dtype=self.dtype, name=f"reduce{level + 1}")(x)
            x = self._level(x, f"decoder{level + 1}", self.blocks[2 * depth - level])
        return x

    def _level(self, x: jax.Array, name: str, count: int) -> jax.Array:
        heads = num_heads(x.shape[-1], self.heads_per_channels)
        for i in range(count):
            x = RestormerBlock(heads, norm=self.norm, dtype=self.dtype, name=f"{name}_block{i + 1}")(x)
        return x


class IAFRM(nn.Module):
    """F^_vi = TF(F^_ir * H + F_vi * (1 - H) + F_vi) (Eq. 5), and a 3x3 convolution to the dehazed image.

    "soft": the convolution gives K (one channel) and B, and the dehazed image is I + K * I - B with the hazy image I:
    soft reconstruction (Song et al., DehazeFormer, IEEE TIP 2023), with a `steady_border`. It starts as the hazy image.
    `refine_radius`: pixels; K and B of the result `follow_edges` of the hazy image (0: as they are; "soft" alone).
    `modulations`: so many times the dehazed image is made again, from features after another `GlobalModulation`, which
    sees what the image before was like. The fusion sees the features before all of them.
    "physical": TF also sees the first transmission and air light, and gives corrections of them, see `HazeHead`.
    """

    blocks: tuple[int, ...] = (1, 1, 2, 1, 1)
    reconstruction: str = "direct"
    refine_radius: int = 0
    modulations: int = 0
    patch: int = 1
    heads_per_channels: int = 24
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        hazy: jax.Array,
        visible: jax.Array,
        candidate: jax.Array | None,
        density: jax.Array | None,
        region: Region | None = None,
        first: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, Any]:
        """Restores the visible features.

        Args:
            hazy: float32[B, H, W, 3] in [-1, 1], the image; read by "soft" and modulations alone.
            visible: float[B, H, W, C], F_vi.
            candidate: float[B, H, W, C], the embedded infrared features F^_ir; None (ablation): F_vi alone.
            density: float32[B, H, W] in [0, 1]; None (ablation): one half everywhere, no selection.
            region: where the images lie in larger ones; None: they are the whole. Read by modulations alone.
            first: transmission float32[B, p H, p W] and air light float32[B, 3] to correct, with p = `patch`; read by
                "physical" alone.

        Returns:
            The restored features, float[B, H, W, C], and the dehazed image, float[B, H, W, 3] in about [-1, 1];
            "physical": in its place the corrected transmission, float32[B, p H, p W], and air light, a small map.
        """
        x = visible
        if candidate is not None:
            share = 0.5 if density is None else density[..., None].astype(visible.dtype)
            x = candidate * share + visible * (1 - share) + visible
        if self.reconstruction == "physical":
            hints = jnp.log(pixel_unshuffle(first[0][..., None], self.patch))
            light = jnp.broadcast_to(first[1][:, None, None], (*hints.shape[:3], 3))
            hints = jnp.concatenate([hints, light], axis=-1)
            x = x + Conv1x1(x.shape[-1], dtype=self.dtype, name="embed_haze")(hints)
        features = TF(self.blocks, self.heads_per_channels, self.norm, self.dtype, name="tf")(x)
        if self.reconstruction == "physical":
            return features, HazeHead(self.patch, self.dtype, name="to_haze")(features, *first)
        soft = self.reconstruction == "soft"
        planes = 4 if soft else 3
        init = nn.initializers.zeros if soft else nn.linear.default_kernel_init
        to_image = nn.Conv(planes, (3, 3), dtype=self.dtype, kernel_init=init, name="to_image")

        def drawn(features: jax.Array) -> jax.Array:
            if not soft:
                return to_image(features)
            # In float32 from here on: bfloat16 has no 256 levels for the brighter half of an image.
            return steady_border(to_image(features).astype(jnp.float32))

        def image(outputs: jax.Array) -> jax.Array:
            return soft_image(hazy, outputs) if soft else outputs

        outputs, modulated = drawn(features), features
        for name in modulation_names(self.modulations):
            modulate = GlobalModulation(stride=2 ** (len(self.blocks) // 2), name=name)
            modulated = modulate(modulated, hazy, image(outputs), region)
            outputs = drawn(modulated)
        if self.refine_radius:
            outputs = follow_edges(outputs, luma(hazy), self.refine_radius)
        return features, image(outputs)


class HazeHead(nn.Module):
    """Corrections of a first transmission and air light by restored features (ours); fresh, it leaves them.

    Transmission is corrected pixel by pixel, see `corrected_transmission`; air light by a map of 1/8 of the features'
    size, since it varies slowly.
    """

    patch: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, t: jax.Array, airlight: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Of features float[B, h, w, C], t float32[B, p h, p w] and A float32[B, 3]: t of its shape, A as a small map."""
        zeros = nn.initializers.zeros
        draw = nn.Conv(self.patch**2, (3, 3), dtype=self.dtype, kernel_init=zeros, name="transmission")
        correction = pixel_shuffle(draw(features).astype(jnp.float32), self.patch)
        cells = resample(features.astype(jnp.float32), tuple(max(1, n // 8) for n in features.shape[1:3]))
        change = Conv1x1(3, kernel_init=zeros, name="airlight")(cells)
        return corrected_transmission(t, correction[..., 0]), airlight[:, None, None] + change


def soft_image(hazy: jax.Array, outputs: jax.Array) -> jax.Array:
    """I + K * I - B of the hazy image float[..., 3], of outputs float[..., 4]: K, then B."""
    gain, offset = jnp.split(outputs, (1,), axis=-1)
    return hazy + gain * hazy - offset


def modulation_names(count: int) -> list[str]:
    """Of the modulations of an `IAFRM`, in their order."""
    return [f"modulation{k + 1}" if k else "modulation" for k in range(count)]
