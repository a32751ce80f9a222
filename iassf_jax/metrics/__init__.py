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
PI_ABSENT = "its regression forests are not shipped: give Ma et al.'s model.mat, see docs/metrics.md"
