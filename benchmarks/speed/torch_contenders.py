"""PyTorch's side: the released network and a Restormer block (`torch_release`, `torch_restormer`)."""

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.cases import Case
from benchmarks.torch_release import DehazeNetwork, FusionNetwork, haze_density
from benchmarks.torch_restormer import RestormerBlock

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=DEVICE)


class Both(nn.Module):
    """Hazy visible and infrared image -> dehazed and fused image."""

    def __init__(self) -> None:
        """Fresh weights."""
        super().__init__()
        self.dehaze, self.fusion = DehazeNetwork(), FusionNetwork()

    def forward(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Both stages."""
        dehazed, infrared = self.dehaze(visible, infrared)
        return dehazed, self.fusion(dehazed, infrared)


class Work:
    """A network and its inputs, ready to run."""

    def __init__(self, case: Case, name: str) -> None:
        """Builds; a compiled one compiles in the first run."""
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.manual_seed(0)
        build = {"inference": _inference, "train step": _train_step, "haze density": _haze, "Restormer block": _block}
        self.run = build[case.task](case, name)

    def __call__(self) -> None:
        """One run, waited for."""
        self.run()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    def cost(self) -> dict[str, float]:
        """Nothing: the roofline is that of the JAX programs."""
        return {}


def peak_device_memory() -> int | None:
    """Bytes on a GPU so far; None on a CPU."""
    return torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else None


def _prepared(network: nn.Module, name: str) -> nn.Module:
    network = network.to(DEVICE)
    if name == "torch_nhwc":  # the prompt pools have five axes and stay
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    return torch.compile(network) if name == "torch_compiled" else network


def _images(case: Case, channels: int, name: str) -> Tensor:
    x = torch.rand(case.batch, channels, case.height, case.width, device=DEVICE) * 2 - 1
    return x.to(memory_format=torch.channels_last) if name == "torch_nhwc" else x


def _without_gradients(network: nn.Module, *inputs: Tensor) -> Callable[[], Any]:
    network.eval()

    def run() -> None:
        with torch.inference_mode():
            network(*inputs)

    return run


def _inference(case: Case, name: str) -> Callable[[], Any]:
    return _without_gradients(_prepared(Both(), name), *(_images(case, 3, name) for _ in range(2)))


def _block(case: Case, name: str) -> Callable[[], Any]:
    return _without_gradients(_prepared(RestormerBlock(48, 2), name), _images(case, 48, name))


def _haze(case: Case, name: str) -> Callable[[], Any]:
    features = _images(case, 24, name)
    return lambda: haze_density(features)


def _sobel(x: Tensor) -> Tensor:
    kernels = torch.stack([_SOBEL, _SOBEL.T.flip(0)])[:, None].repeat(3, 1, 1, 1)
    return F.conv2d(x, kernels, padding=1, groups=3).abs().unflatten(1, (3, 2)).sum(2)


def _loss(dehazed: Tensor, fused: Tensor, clear: Tensor, infrared: Tensor) -> Tensor:
    """Eq. 6-9, as `iassf_jax.losses.paper_loss`."""
    intensity = (fused - torch.maximum(clear, infrared)).abs().mean()
    gradient = (_sobel(fused) - torch.maximum(_sobel(clear), _sobel(infrared))).abs().mean()
    return intensity + gradient + 2 * (dehazed - clear).abs().mean()


def _train_step(case: Case, name: str) -> Callable[[], Any]:
    network = _prepared(Both(), name).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4)
    hazy, clear, infrared = (_images(case, 3, name) for _ in range(3))

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        _loss(*network(hazy, infrared), clear, infrared).backward()
        optimizer.step()

    return run
