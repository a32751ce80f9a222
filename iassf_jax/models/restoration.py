"""Infrared-assisted feature restoration (IA-FRM): mixes the candidates by haze density (Eq. 5), then TF."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.models.layers import Conv1x1, Downsample, Upsample
from iassf_jax.models.prompts import num_heads
from iassf_jax.models.restormer import RestormerBlock


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


def mix_candidates(visible: jax.Array, candidate: jax.Array, density: jax.Array | None) -> jax.Array:
    """F^_ir * H + F_vi * (1 - H) + F_vi (Eq. 5, inside TF).

    Args:
        visible: float[B, H, W, C], F_vi.
        candidate: float[B, H, W, C], the embedded infrared features F^_ir.
        density: float32[B, H, W] in [0, 1], H; None (an ablation): one half everywhere, no selection.
    """
    share = 0.5 if density is None else density[..., None].astype(visible.dtype)
    return candidate * share + visible * (1 - share) + visible


class IAFRM(nn.Module):
    """F^_vi = TF(F^_ir * H + F_vi * (1 - H) + F_vi) (Eq. 5)."""

    blocks: tuple[int, ...] = (1, 1, 2, 1, 1)
    heads_per_channels: int = 24
    norm: str = "with_bias"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        visible: jax.Array,
        candidate: jax.Array | None,
        density: jax.Array | None,
        hints: jax.Array | None = None,
    ) -> jax.Array:
        """Restores the visible features.

        Args:
            visible: float[B, H, W, C], F_vi.
            candidate: float[B, H, W, C], the embedded infrared features F^_ir; None (ablation): F_vi alone.
            density: float32[B, H, W] in [0, 1]; None (ablation): one half everywhere, no selection.
            hints: float32[B, H, W, K], what else TF is told (ours): added by a 1x1 convolution.

        Returns:
            F^_vi, float[B, H, W, C].
        """
        x = visible if candidate is None else mix_candidates(visible, candidate, density)
        if hints is not None:
            x = x + Conv1x1(x.shape[-1], dtype=self.dtype, name="embed_haze")(hints)
        return TF(self.blocks, self.heads_per_channels, self.norm, self.dtype, name="tf")(x)
