"""The released network in PyTorch, our own code after the same description as `iassf_jax.models.release.network`.

For benchmarks and comparisons only. Parameter names are those of the release's state dicts; the haze estimator runs on
the host with OpenCV, as in the release. Needs PyTorch (extra "parity").
"""

from collections.abc import Iterable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv1x1(i: int, o: int, bias: bool = True) -> nn.Conv2d:
    """1x1 convolution."""
    return nn.Conv2d(i, o, 1, bias=bias)


def conv3x3(i: int, o: int) -> nn.Conv2d:
    """3x3 convolution, zero padding, no bias."""
    return nn.Conv2d(i, o, 3, padding=1, bias=False)


class RLN(nn.Module):
    """Rescale layer norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.meta1, self.meta2 = conv1x1(1, channels), conv1x1(1, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean((1, 2, 3), keepdim=True)
        std = ((x - mean).square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return (x - mean) / std * self.weight + self.bias, self.meta1(std), self.meta2(mean)


class WindowAttention(nn.Module):
    """Attention in 8x8 windows with a bias learned from relative positions."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        pixels = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij"), -1).reshape(-1, 2)
        d = (pixels[:, None] - pixels[None]).float()
        self.register_buffer("relative_positions", d.sign() * torch.log(1 + d.abs()))
        self.meta = nn.Sequential(nn.Linear(2, 256), nn.ReLU(True), nn.Linear(256, heads))

    def forward(self, qkv: Tensor) -> Tensor:
        windows, pixels, channels = qkv.shape
        size = channels // 3 // self.heads
        q, k, v = qkv.reshape(windows, pixels, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        bias = self.meta(self.relative_positions).permute(2, 0, 1)
        weights = ((q * size**-0.5) @ k.transpose(-2, -1) + bias).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(windows, pixels, channels // 3)


class Attention(nn.Module):
    """Window attention and a depthwise convolution; either may be absent."""

    def __init__(self, channels: int, heads: int, shift: int = 0, conv: bool = True) -> None:
        super().__init__()
        self.shift = shift
        self.V, self.proj = conv1x1(channels, channels), conv1x1(channels, channels)
        if conv:
            self.conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, padding_mode="reflect")
        if heads:
            self.QK = conv1x1(channels, 2 * channels)
            self.attn = WindowAttention(heads)

    def forward(self, x: Tensor) -> Tensor:
        v = self.V(x)
        out = self._attend(torch.cat([self.QK(x), v], 1)) if hasattr(self, "attn") else 0
        return self.proj(out + self.conv(v) if hasattr(self, "conv") else out)

    def _attend(self, qkv: Tensor) -> Tensor:
        batch, channels, height, width = qkv.shape
        missing = [-height % 8, -width % 8]
        after = [(8 - self.shift + m) % 8 if self.shift else m for m in missing]
        qkv = F.pad(qkv, (self.shift, after[1], self.shift, after[0]), mode="reflect")
        rows, columns = qkv.shape[2] // 8, qkv.shape[3] // 8
        windows = qkv.reshape(batch, channels, rows, 8, columns, 8).permute(0, 2, 4, 3, 5, 1)
        out = self.attn(windows.reshape(-1, 64, channels)).reshape(batch, rows, columns, 8, 8, channels // 3)
        out = out.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels // 3, 8 * rows, 8 * columns)
        return out[:, :, self.shift : self.shift + height, self.shift : self.shift + width]


class Mlp(nn.Module):
    """1x1, ReLU, 1x1."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(conv1x1(channels, hidden), nn.ReLU(True), conv1x1(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class Block(nn.Module):
    """DehazeFormer's transformer block."""

    def __init__(self, channels: int, heads: int, ratio: int, shift: int) -> None:
        super().__init__()
        if heads:
            self.norm1 = RLN(channels)
        self.attn, self.mlp = Attention(channels, heads, shift), Mlp(channels, ratio * channels)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "norm1"):
            y, rescale, rebias = self.norm1(x)
            x = x + self.attn(y) * rescale + rebias
        else:
            x = x + self.attn(x)
        return x + self.mlp(x)


class Layer(nn.Module):
    """`depth` blocks; the last `attending` attend."""

    def __init__(self, channels: int, depth: int, attending: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(Block(channels, heads if i >= depth - attending else 0, ratio, 4 * (i % 2)) for i in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class SKFusion(nn.Module):
    """Selective mean of two maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 8, 4)
        self.mlp = nn.Sequential(conv1x1(channels, hidden, False), nn.ReLU(), conv1x1(hidden, 2 * channels, False))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        weights = self.mlp((a + b).mean((2, 3), keepdim=True)).unflatten(1, (2, -1)).softmax(1)
        return weights[:, 0] * a + weights[:, 1] * b


class Encoder(nn.Module):
    """The release's "RestormerEncoder"."""

    def __init__(self, i: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = RLN(channels), RLN(channels)
        self.attn = Attention(channels, 1, conv=False)
        self.ffn, self.mlp = Mlp(channels, int(2.66 * channels)), conv1x1(i, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mlp(x)
        y, rescale, rebias = self.norm1(x)
        x = x + self.attn(y) * rescale + rebias
        y, rescale, rebias = self.norm2(x)
        return x + self.ffn(y) * rescale + rebias


class PromptBlock(nn.Module):
    """Generates a prompt from F_vi - F_ir and embeds it into F_ir."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, 5, 24, 256, 256))
        self.linear_layer, self.conv3x3_gen = nn.Linear(24, 5), conv3x3(24, 24)
        self.attention = Attention(48, 2, conv=False)
        self.conv1x1_embed, self.conv3x3_embed = conv1x1(48, 24, False), conv3x3(24, 24)

    def forward(self, f_vi: Tensor, f_ir: Tensor) -> Tensor:
        weights = self.linear_layer((f_vi - f_ir).mean((2, 3))).softmax(1)
        prompt = (weights[:, :, None, None, None] * self.prompt_param).sum(1)
        prompt = F.interpolate(prompt, f_ir.shape[2:], mode="bilinear")
        x = self.attention(torch.cat([f_ir, self.conv3x3_gen(prompt)], 1))
        return self.conv3x3_embed(self.conv1x1_embed(x))


@torch.compiler.disable
def haze_density(features: Tensor) -> Tensor:
    """On the host, image by image: [B, C, H, W] -> [B, 1, H, W]."""
    means = features.detach().mean(1).cpu().numpy()
    return torch.from_numpy(np.stack([_haze_density(mean) for mean in means])[:, None]).to(features)


def _haze_density(mean: np.ndarray) -> np.ndarray:
    scaled = (mean - mean.min()) / (mean.max() - mean.min() + np.float32(1e-8))
    guide = (scaled * np.float32(255)).astype(np.uint8) / 255.0
    t = 1 - 0.95 * cv2.erode(guide, cv2.getStructuringElement(cv2.MORPH_RECT, (15, 15)))

    def box(x: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(x, cv2.CV_64F, (60, 60), borderType=cv2.BORDER_REFLECT_101)

    slope = (box(guide * t) - box(guide) * box(t)) / (box(guide * guide) - box(guide) ** 2 + 1e-4)
    return 1 - (box(slope) * guide + box(box(t) - slope * box(guide)))


class Projection(nn.Module):
    """A convolution under the name `proj`, with what follows it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.proj = layers[0] if len(layers) == 1 else nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class DehazeNetwork(nn.Module):
    """Hazy visible and infrared image, [B, 3, H, W] in [-1, 1] -> dehazed and infrared image."""

    def __init__(self) -> None:
        super().__init__()
        self.w_ir, self.w_vi = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.ir_scale_conv, self.vi_scale_conv = conv1x1(24, 24, False), conv1x1(24, 24, False)
        self.restormer_encoder, self.conv24_3 = Encoder(3, 24), conv1x1(24, 3)
        self.PromptGenerationAndEmbeddingBlock = PromptBlock()
        self.patch_embed = Projection(nn.Conv2d(24, 24, 3, padding=1, padding_mode="reflect"))
        self.skip0, self.skip1, self.skip2 = conv1x1(24, 24), conv1x1(24, 24), conv1x1(48, 48)
        self.layer1, self.layer2 = Layer(24, 8, 2, 2, 2), Layer(48, 8, 4, 4, 4)
        self.layer3, self.layer4, self.layer5 = Layer(96, 8, 6, 6, 4), Layer(48, 4, 0, 1, 2), Layer(24, 4, 0, 1, 2)
        self.patch_merge1 = Projection(nn.Conv2d(24, 48, 2, stride=2))
        self.patch_merge2 = Projection(nn.Conv2d(48, 96, 2, stride=2))
        self.patch_split1 = Projection(conv1x1(96, 192), nn.PixelShuffle(2))
        self.patch_split2 = Projection(conv1x1(48, 96), nn.PixelShuffle(2))
        self.fusion1, self.fusion2, self.fusion3 = SKFusion(48), SKFusion(24), SKFusion(24)
        unembed = nn.Conv2d(24, 3, 3, padding=1, padding_mode="reflect")
        self.patch_unembed = Projection(unembed, nn.PixelShuffle(1))

    def forward(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        height, width = visible.shape[2:]
        pad = (0, -width % 4, 0, -height % 4)
        f_vi, f_ir = (self.restormer_encoder(F.pad(x, pad, mode="reflect")) for x in (visible, infrared))
        ir_rgb = self.conv24_3(f_ir)
        embedded = self.PromptGenerationAndEmbeddingBlock(f_vi, f_ir)
        density = haze_density(f_vi)
        x = self.patch_embed(embedded * density + f_vi * (1 - density) + f_vi)
        skip0 = self.skip0(x)
        x = self.layer1(x)
        skip1 = self.skip1(x)
        x = self.layer2(self.patch_merge1(x))
        skip2 = self.skip2(x)
        x = self.patch_split1(self.layer3(self.patch_merge2(x)))
        x = self.patch_split2(self.layer4(self.fusion1(x, skip2) + x))
        x = self.layer5(self.fusion2(x, skip1) + x)
        dehazed = self.patch_unembed(self.fusion3(x, skip0) + x)
        return dehazed[..., :height, :width], ir_rgb[..., :height, :width]


class FusionPrompt(nn.Module):
    """The fusion network's prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, 5, 6, 256, 256))
        self.linear_layer, self.conv3x3 = nn.Linear(6, 5), conv3x3(6, 6)
        self.adjust_channels, self.conv1 = conv1x1(6, 6, False), conv1x1(3, 6, False)

    def forward(self, difference: Tensor) -> Tensor:
        weights = self.linear_layer(self.conv1(difference).mean((2, 3))).softmax(1)
        prompt = (weights[:, :, None, None, None] * self.prompt_param).sum(1)
        return self.adjust_channels(self.conv3x3(aligned(prompt, difference.shape[2:])))


class FusionEmbedding(nn.Module):
    """Embeds a prompt."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = Attention(2 * channels, 1, conv=False)
        self.conv1x1, self.conv3x3 = conv1x1(2 * channels, channels, False), conv3x3(channels, channels)

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        return self.conv3x3(self.conv1x1(self.attention(torch.cat([x, prompt], 1))))


def aligned(x: Tensor, size: Iterable[int]) -> Tensor:
    """Bilinear resize with aligned corners."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


class FusionNetwork(nn.Module):
    """Dehazed and infrared image -> fused image."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_gen_block = FusionPrompt()
        self.prompt_in_blocks_enc = nn.ModuleList(map(FusionEmbedding, (6, 12, 24)))
        self.prompt_in_blocks_dec = nn.ModuleList(map(FusionEmbedding, (12, 6)))
        self.encoder1, self.encoder2, self.encoder3 = Encoder(6, 6), Encoder(6, 12), Encoder(12, 24)
        self.decoder3, self.decoder2 = Encoder(24, 12), Encoder(12, 6)
        self.final_conv, self.skip_conv1, self.skip_conv2 = conv1x1(6, 3), conv1x1(6, 6), conv1x1(12, 12)
        self.prompt_adjust_conv_enc = nn.ModuleList(conv1x1(6, c, False) for c in (6, 12, 24))
        self.prompt_adjust_conv_dec = nn.ModuleList(conv1x1(6, c, False) for c in (12, 6))

    def forward(self, dehazed: Tensor, infrared: Tensor) -> Tensor:
        prompt = self.prompt_gen_block(infrared - dehazed)

        def embed(e: Tensor, blocks: nn.ModuleList, convs: nn.ModuleList, i: int) -> Tensor:
            return blocks[i](e, convs[i](aligned(prompt, e.shape[2:]))) + e

        down = (self.prompt_in_blocks_enc, self.prompt_adjust_conv_enc)
        up = (self.prompt_in_blocks_dec, self.prompt_adjust_conv_dec)
        e1 = embed(self.encoder1(torch.cat([dehazed, infrared], 1)), *down, 0)
        e2 = embed(self.encoder2(F.max_pool2d(e1, 2)), *down, 1)
        x = embed(self.encoder3(F.max_pool2d(e2, 2)), *down, 2)
        x = embed(self.decoder3(aligned(x, e2.shape[2:])), *up, 0) + self.skip_conv2(e2)
        x = embed(self.decoder2(aligned(x, e1.shape[2:])), *up, 1) + self.skip_conv1(e1)
        return self.final_conv(x)


def load(path: str) -> tuple[DehazeNetwork, FusionNetwork]:
    """Both networks with the weights of a file, for inference."""
    states = torch.load(path, weights_only=True, map_location="cpu")
    dehaze, fusion = DehazeNetwork(), FusionNetwork()
    dehaze.load_state_dict(states["dehaze_network_state_dict"])
    fusion.load_state_dict(states["fusion_network_state_dict"])
    return dehaze.eval(), fusion.eval()
