"""Metrics of dehazed and of fused images: one file a metric, each per image and with its value range named."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric's name and its good direction.

    Attributes:
        name: e.g. "Q_AB/F".
        better: "higher" or "lower".
    """

    name: str
    better: str


PAPER_METRICS = (
    Metric("Q_MI", "higher"),
    Metric("Q_AB/F", "higher"),
    Metric("Q_CV", "lower"),
    Metric("Q_SCD", "higher"),
    Metric("Q_VIF", "higher"),
    Metric("Q_NIQE", "lower"),
    Metric("Q_PI", "lower"),
    Metric("Q_SF", "higher"),
)
"""The eight of the paper, in its order."""
MORE_METRICS = (Metric("EN", "higher"), Metric("SD", "higher"), Metric("AG", "higher"))
"""Entropy, standard deviation, average gradient of the fused image."""
DEHAZING_METRICS = (Metric("dehazed PSNR", "higher"), Metric("dehazed SSIM", "higher"))
"""Of the dehazed image against the clear one."""
_PI_ABSENT = "its regression forests are not shipped: give Ma et al.'s model.mat, see docs/evaluate.md"


def fusion_columns(has_forests: bool, with_published: bool) -> tuple[tuple[Metric, ...], dict[str, str]]:
    """A report's columns for fused images, and which metric is absent, with the reason.

    Without its forests Q_PI is told of in a note; its column is there for the paper's numbers alone.
    """
    metrics = (*PAPER_METRICS, *MORE_METRICS)
    if has_forests:
        return metrics, {}
    return tuple(m for m in metrics if m.name != "Q_PI" or with_published), {"Q_PI": _PI_ABSENT}
