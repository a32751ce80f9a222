"""Multi-stage prompt embedding fusion (MsPE-FM, Fig. 2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.models.layers import Conv1x1, Downsample, Upsample, halve, resize_bilinear
from iassf_jax.models.prompts import PEB, num_heads
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
    """

    channels: int = 12
    num_blocks: int = 5
    embed: bool = True
    heads_per_channels: int = 24
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, visible: jax.Array, infrared: jax.Array, prompt: jax.Array | None) -> jax.Array:
        """Fuses the restored visible and the infrared features.

        Args:
            visible, infrared: float[B, H, W, C]; H and W are multiples of 2 ** (num_blocks // 2).
            prompt: float[B, H, W, channels], P^1; None (ablation) for blocks without prompts.

        Returns:
            The fused features, float[B, H, W, channels].
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
        return x

    def _next_prompt(self, prompt: jax.Array, shape: tuple[int, int, int], k: int) -> jax.Array:
        height, width, channels = shape
        if height < prompt.shape[1]:
            prompt = halve(prompt)
        prompt = Conv1x1(channels, dtype=self.dtype, name=f"prompt{k + 1}")(prompt)
        return prompt if height == prompt.shape[1] else resize_bilinear(prompt, (height, width))
