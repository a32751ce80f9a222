"""Multi-stage prompt embedding fusion (MsPE-FM, Fig. 2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.models.layers import Conv1x1, Downsample, Upsample, halve, luma, resize_bilinear, steady_border
from iassf_jax.models.prompts import PEB, num_heads
from iassf_jax.models.refinement import follow_edges
from iassf_jax.models.restormer import RestormerBlock


class FusionBlock(nn.Module):
    """Restormer block, then x + PEB(x, P^k). `embed=False` (an ablation) adds the prompt instead."""

    embed: bool = True
    heads_per_channels: int = 24
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, prompt: jax.Array | None) -> jax.Array:
        heads = num_heads(x.shape[-1], self.heads_per_channels)
        x = RestormerBlock(heads, norm=self.norm, dtype=self.dtype, name="block")(x)
        if self.embed:
            return x + PEB(self.heads_per_channels, self.norm, self.dtype, name="peb")(x, prompt)
        return x if prompt is None else x + prompt


class MsPEFM(nn.Module):
    """M fusion blocks in a U: ceil(M/2) of them down, floor(M/2) up, with residual connections between equal levels.

    The width is `channels` at full size and doubles a level; P^{k+1} = Conv1x1(P^k), brought to the block's size.
    "soft" (ours): the last convolution gives gains g and h and a change, with a `steady_border`. With lumas V of the
    dehazed and R of the infrared image, the fused image is the dehazed one + (1 + g) max(R - V, 0) + h min(R, V) +
    change: textures come from the images. It starts as their luma maximum. `refine_radius`: pixels; gains and change
    `follow_edges` of R and of max(R - V, 0) (0: as they are).
    """

    channels: int = 12
    num_blocks: int = 5
    embed: bool = True
    reconstruction: str = "direct"
    refine_radius: int = 0
    heads_per_channels: int = 24
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: tuple[jax.Array, jax.Array],
        visible: jax.Array,
        infrared: jax.Array,
        prompt: jax.Array | None,
    ) -> jax.Array:
        """Fuses the restored visible and the infrared features.

        Args:
            images: float32[B, H, W, 3] each, the dehazed and the infrared image; read by "soft" alone.
            visible, infrared: float[B, H, W, C]; H and W are multiples of 2 ** (num_blocks // 2).
            prompt: float[B, H, W, channels], P^1; None (ablation) for blocks without prompts.

        Returns:
            The fused image, float[B, H, W, 3] in about [-1, 1]; "physical": gains, see
            `full_size.added_by_infrared`, [B, H, W, 2].
        """
        x = jnp.concatenate([visible, infrared], axis=-1)
        x = Conv1x1(self.channels, dtype=self.dtype, name="join")(x)
        bottom = self.num_blocks // 2
        skips = []
        for k in range(self.num_blocks):
            level = bottom - abs(bottom - k)
            width = self.channels << level
            if 0 < k <= bottom:
                skips.append(x)
                x = Downsample(width, dtype=self.dtype, name=f"down{k}")(x)
            elif k:
                x = Upsample(width, dtype=self.dtype, name=f"up{k}")(x) + skips.pop()
            if k and prompt is not None:
                prompt = self._next_prompt(prompt, x.shape[1:], k)
            block = FusionBlock(self.embed, self.heads_per_channels, self.norm, self.dtype, name=f"block{k + 1}")
            x = block(x, prompt)
        if self.reconstruction == "physical":
            return Conv1x1(2, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="to_image")(x)
        if self.reconstruction == "direct":
            return Conv1x1(3, dtype=self.dtype, name="to_image")(x)
        to_image = Conv1x1(5, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="to_image")
        lumas = [luma(image) for image in images]
        excess = nn.relu(lumas[1] - lumas[0])
        outputs = steady_border(to_image(x).astype(jnp.float32))
        if self.refine_radius:
            outputs = follow_edges(outputs, jnp.concatenate([lumas[1], excess], axis=-1), self.refine_radius)
        change, brighter, weaker = jnp.split(outputs, (3, 4), axis=-1)
        return images[0] + (1 + brighter) * excess + weaker * jnp.minimum(*lumas) + change

    def _next_prompt(self, prompt: jax.Array, shape: tuple[int, int, int], k: int) -> jax.Array:
        height, width, channels = shape
        if height < prompt.shape[1]:
            prompt = halve(prompt)
        prompt = Conv1x1(channels, dtype=self.dtype, name=f"prompt{k + 1}")(prompt)
        return prompt if height == prompt.shape[1] else resize_bilinear(prompt, (height, width))
