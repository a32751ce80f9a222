"""Depth maps of files, in metres."""

import math

import numpy as np

from iassf_jax.data import images
from iassf_jax.data.images import Array, PathLike
from iassf_jax.errors import UserError

# Depth that is unknown or infinite, in metres: far enough for t = 0 in any visible haze, and harmless at beta = 0.
FAR_METRES = 10_000.0
DEPTH_MEANINGS = ("depth", "disparity")


def check_depth_settings(meaning: str | None, scale: float | None) -> None:
    """Raises a UserError for what `load_depth` would refuse whatever the file."""
    if meaning not in DEPTH_MEANINGS:
        raise UserError(f"depth meaning is {meaning}: say which of {' and '.join(DEPTH_MEANINGS)} the maps hold")
    if scale is None or not 0 < scale < math.inf:
        raise UserError(f"depth scale is {scale}: give metres per unit (depth) or metres times value (disparity), > 0")


def load_depth(path: PathLike, meaning: str, scale: float) -> Array:
    """Reads a depth map.

    Args:
        path: a grey 8-bit or 16-bit image, or a .npy array `[H, W]`.
        meaning: `depth`: metres = value * scale; `disparity` (large is near): metres = scale / value. Networks for
            single images mostly give disparity, sensors and renderers mostly depth: the two are often confused.
        scale: > 0, as above.

    Returns:
        float32 metres `[H, W]`, at most `FAR_METRES`; values that are 0, negative or not finite become `FAR_METRES`.

    Raises:
        UserError: unreadable, not one channel, an unknown meaning, or a scale that is not positive.
    """
    check_depth_settings(meaning, scale)
    values = images.open_npy(path) if str(path).lower().endswith(".npy") else images.read_image(path)
    return metres_of(path, values, meaning, scale)


def metres_of(path: PathLike, values: Array, meaning: str, scale: float) -> Array:
    """`load_depth` of a map's values `[H, W]` or `[H, W, 3]`; `path` names it in errors."""
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise UserError(f"{path}: is a coloured picture of depth, not depth: export the values as one grey channel")
        values = values[..., 0]
    values = values.astype(np.float64)
    known = np.isfinite(values) & (values > 0)
    safe = np.where(known, values, 1)
    with np.errstate(over="ignore"):
        metres = safe * scale if meaning == "depth" else scale / safe
    return np.where(known, np.minimum(metres, FAR_METRES), FAR_METRES).astype(np.float32)
