"""A Restormer block in PyTorch, our own code after the paper (Zamir et al., CVPR 2022, Sec. 3); for benchmarks only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer norm over the channels of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MDTA(nn.Module):
    """Attention between channels (Eq. 1)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        heads = self.temperature.shape[0]
        q, k, v = self.dwconv(self.qkv(x)).reshape(batch, 3, heads, channels // heads, height * width).unbind(1)
        weights = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        return self.project_out((weights.softmax(-1) @ v).reshape(batch, channels, height, width))


class GDFN(nn.Module):
    """Gated feed-forward network (Eq. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = int(channels * 2.66)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(F.gelu(gate) * value)


class RestormerBlock(nn.Module):
    """[B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = ChannelNorm(channels), MDTA(channels, heads)
        self.norm2, self.ffn = ChannelNorm(channels), GDFN(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))
