"""Prompt generation (PGM, Eq. 1-2) and prompt embedding (PEB, Fig. 2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.models.layers import Conv1x1
from iassf_jax.models.restormer import RestormerBlock
from iassf_jax.models.whole_image import Region, of_whole_image, pixel_mean, resize_into


class PGM(nn.Module):
    """Prompt generation module: selects from a learned pool by what the two modalities do not share.

    W_p = softmax(Linear(GAP(Conv(D)))) (Eq. 1), P = Conv3x3(Conv1x1(sum_n W_p[n] * pool[n])) (Eq. 2).
    The convolutions that are 1x1 run where they are cheap, before the resize and after the mean: both commute.
    """

    channels: int
    num_prompts: int = 5
    prompt_size: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, visible: jax.Array, infrared: jax.Array, region: Region | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Makes the prompt for a pair of features.

        Args:
            visible, infrared: float[B, H, W, C], features of the two modalities.
            region: where they lie in a larger image; None: they are the whole.

        Returns:
            The prompt, float[B, H, W, channels], and the selection weights W_p, float32[B, num_prompts], sum 1.
        """
        size, features = visible.shape[1:3], visible.shape[3]
        difference = of_whole_image(self, "difference", lambda: pixel_mean(visible) - pixel_mean(infrared))[:, 0, 0]
        hidden = nn.Dense(features, name="conv_difference")(difference)
        weights = jax.nn.softmax(nn.Dense(self.num_prompts, name="selection")(hidden), axis=-1)
        pool_shape = (self.num_prompts, self.prompt_size, self.prompt_size, self.channels)
        pool = self.param("pool", nn.initializers.uniform(1.0), pool_shape)
        prompt = jnp.einsum("bn,nhwc->bhwc", weights, pool).astype(self.dtype)
        prompt = Conv1x1(self.channels, dtype=self.dtype, name="conv1x1")(prompt)
        prompt = resize_into(prompt, size, region)
        prompt = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv3x3")(prompt)
        return prompt, weights


class PEB(nn.Module):
    """Prompt embedding block: Restormer block on [features, prompt], then 1x1 and 3x3 convolutions back to C.

    Without a prompt (an ablation) it embeds the features alone.
    """

    heads_per_channels: int = 24
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, prompt: jax.Array | None) -> jax.Array:
        channels = features.shape[-1]
        x = features if prompt is None else jnp.concatenate([features, prompt], axis=-1)
        heads = num_heads(x.shape[-1], self.heads_per_channels)
        x = RestormerBlock(heads, norm=self.norm, dtype=self.dtype, name="block")(x)
        x = Conv1x1(channels, dtype=self.dtype, name="conv1x1")(x)
        return nn.Conv(channels, (3, 3), dtype=self.dtype, name="conv3x3")(x)


def num_heads(channels: int, channels_per_head: int) -> int:
    """Heads of an attention over `channels`, about `channels_per_head` wide and at least one."""
    heads = max(1, channels // channels_per_head)
    while channels % heads:
        heads -= 1
    return heads
