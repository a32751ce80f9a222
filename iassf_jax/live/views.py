"""What is shown of a live result."""

import cv2
import numpy as np

from iassf_jax.data import images
from iassf_jax.live.loop import LiveFrame
from iassf_jax.report.pictures import colour_map

VIEWS = ("fused", "dehazed", "haze", "side", "split")
_RED, _WHITE, _BLACK = (220, 30, 30), (255, 255, 255), (0, 0, 0)


def render(frame: LiveFrame, view: str, note: str | None = None) -> np.ndarray:
    """A picture of a result: uint8[H, W or 2 W, 3], R, G, B.

    Args:
        frame: the result.
        view: of `VIEWS`; "side" has the visible and the fused image side by side, "split" the left half of one and
            the right half of the other.
        note: stands in the corner, behind latency and rate; None: nothing stands there, as in recordings.
    """
    hazy = images.to_8_bits(frame.visible)
    if view == "haze":
        picture = np.zeros_like(hazy) if frame.haze_density is None else colour_map(frame.haze_density)
    elif view == "side":
        picture = np.concatenate([hazy, frame.fused], axis=1)
    elif view == "split":
        picture = frame.fused.copy()
        half = hazy.shape[1] // 2
        picture[:, :half] = hazy[:, :half]
        picture[:, half : half + 1] = 255
    else:
        picture = (frame.dehazed if view == "dehazed" else frame.fused).copy()
    picture = np.ascontiguousarray(picture)
    if note is not None:
        line = f"{1000 * frame.latency:.0f} ms  {frame.rate:.1f} frames/s  {note}".strip()
        _write(picture, line, picture.shape[0] - 8, _WHITE)
    if frame.stale:
        cv2.rectangle(picture, (0, 0), (picture.shape[1] - 1, picture.shape[0] - 1), _RED, 6)
        _write(picture, f"no new picture for {frame.latency:.0f} s: {frame.message}", 22, (255, 120, 120))
    return picture


def _write(picture: np.ndarray, text: str, row: int, colour: tuple[int, int, int]) -> None:
    for shade, thickness in ((_BLACK, 3), (colour, 1)):
        cv2.putText(picture, text, (8, row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, shade, thickness, cv2.LINE_AA)
