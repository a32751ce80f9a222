"""Pictures of what the network sees and makes."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

COLUMNS = ("hazy", "infrared", "haze density", "dehazed", "fused", "clear")
_HEADER = 22


def sample_grid(examples: Sequence[Mapping[str, np.ndarray]], height: int = 240) -> np.ndarray:
    """One row an example: hazy, infrared, haze density, dehazed, fused, clear.

    Args:
        examples: each with `hazy`, `dehazed`, `fused`, `clear` uint8|uint16[H, W, 3], `infrared` uint8|uint16[H, W],
            and `haze_density` float[H, W] in [0, 1] where the network estimates it (else a grey tile).
        height: of a tile in pixels; widths follow each example's shape.

    Returns:
        uint8[rows, columns, 3], RGB.
    """
    rows = [np.concatenate([_tile(example, name, height) for name in COLUMNS], axis=1) for example in examples]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    header = np.full((_HEADER, width, 3), 255, np.uint8)
    tile_width = rows[0].shape[1] // len(COLUMNS)
    for i, name in enumerate(COLUMNS):
        cv2.putText(
            header, name, (i * tile_width + 6, _HEADER - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
        )
    return np.concatenate([header, *rows])


def _tile(example: Mapping[str, np.ndarray], name: str, height: int) -> np.ndarray:
    shape = example["hazy"].shape
    if name == "haze density":
        density = example.get("haze_density")
        image = np.full(shape, 128, np.uint8) if density is None else colour_map(density)
    else:
        image = example[name]
    if image.dtype == np.uint16:
        image = np.round(image / 257).astype(np.uint8)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return cv2.resize(image, (max(1, round(shape[1] * height / shape[0])), height), interpolation=cv2.INTER_AREA)


def colour_map(values: np.ndarray) -> np.ndarray:
    """float[H, W] in [0, 1] to uint8[H, W, 3] RGB, dark blue to yellow (viridis)."""
    grey = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
