"""What is measured, and by whom."""

from typing import NamedTuple


class Case(NamedTuple):
    """One workload: `batch` images of `height` x `width` through `task`."""

    task: str
    height: int
    width: int
    batch: int

    def __str__(self) -> str:
        """As a row's title."""
        return f"{self.task} {self.width}x{self.height}, batch {self.batch}"


OURS = ("default", "iassf", "release")
IN_BFLOAT16 = ("iassf", "release")
TORCH = ("torch", "torch_nhwc", "torch_compiled")
# Contenders by task; the first PyTorch one is what ratios refer to.
CONTENDERS = {
    "inference": (*OURS, *TORCH),
    "train step": ("iassf", "release", "torch", "torch_compiled"),
    "haze density": ("iassf", "release", "torch"),
    "Restormer block": ("iassf", "torch", "torch_nhwc", "torch_compiled"),
}
TITLES = {
    "default": "default weights",
    "iassf": "paper's network",
    "release": "released network",
    "iassf_bf16": "paper's network, bfloat16",
    "release_bf16": "released network, bfloat16",
    "torch": "PyTorch",
    "torch_nhwc": "PyTorch, channels last",
    "torch_compiled": "PyTorch, compiled",
}


def cases(on_gpu: bool) -> list[Case]:
    """The workloads; fewer and smaller on a CPU, where PyTorch takes a minute for the large ones."""
    inference = [Case("inference", h, w, 1) for h, w in ((256, 256), (480, 640), (1024, 1280))]
    inference += [Case("inference", 256, 256, 8)]
    if on_gpu:
        inference += [Case("inference", h, w, 8) for h, w in ((480, 640), (1024, 1280))]
    train = Case("train step", 256, 256, 6) if on_gpu else Case("train step", 128, 128, 2)
    return [*inference, train, Case("haze density", 480, 640, 1), Case("Restormer block", 256, 256, 1)]


def contenders(case: Case, on_gpu: bool) -> list[str]:
    """Who runs a case.

    bfloat16 on a GPU only, a CPU computes it no faster; compiled PyTorch on a CPU in the middle one of the sizes only,
    since it compiles for minutes.
    """
    names = list(CONTENDERS[case.task])
    if not on_gpu and case.task != "Restormer block" and case[1:] != (480, 640, 1):
        names = [name for name in names if name != "torch_compiled"]
    if on_gpu and case.task in ("inference", "train step"):
        at = names.index("release") + 1
        names[at:at] = [f"{name}_bf16" for name in IN_BFLOAT16]
    return names
