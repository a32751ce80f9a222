"""Pictures of what the network sees and makes."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from iassf_jax.data import images

COLUMNS = ("hazy", "infrared", "haze density", "dehazed", "fused", "clear")
_HEADER = 22


def sample_grid(
    examples: Sequence[Mapping[str, np.ndarray]], height: int = 240, columns: Sequence[str] = COLUMNS
) -> np.ndarray:
    """One row an example: hazy, infrared, haze density, dehazed, fused, clear.

    Args:
        examples: each with `hazy`, `dehazed`, `fused`, `clear` uint8|uint16[H, W, 3], `infrared` uint8|uint16[H, W],
            and `haze_density` float[H, W] in [0, 1] where the network estimates it (else a grey tile).
        height: of a tile in pixels; widths follow each example's shape, columns the widest.
        columns: of `COLUMNS`, those that are shown.

    Returns:
        uint8[rows, columns, 3], RGB.
    """
    tiles = [[_tile(example, name, height) for name in columns] for example in examples]
    tile_width = max(tile.shape[1] for row in tiles for tile in row)
    pads = [[((0, 0), (0, tile_width - tile.shape[1]), (0, 0)) for tile in row] for row in tiles]
    rows = [
        np.concatenate([np.pad(t, p, constant_values=255) for t, p in zip(row, of_row, strict=True)], axis=1)
        for row, of_row in zip(tiles, pads, strict=True)
    ]
    header = np.full((_HEADER, tile_width * len(columns), 3), 255, np.uint8)
    for i, name in enumerate(columns):
        _write(header, name, (i * tile_width + 6, _HEADER - 6))
    return np.concatenate([header, *rows])


def _write(image: np.ndarray, text: str, corner: tuple[int, int]) -> None:
    cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)


def difference_map(errors: Mapping[str, np.ndarray], side: int = 240, columns: int = 4) -> np.ndarray:
    """Maps of relative errors side by side, in colours from 1e-8 (dark) to 1 (bright), a decade a step.

    Args:
        errors: title -> float[H, W], 0 or more.
        side: height of a tile in pixels; the width follows.
        columns: tiles in a row.

    Returns:
        uint8[rows, columns, 3], RGB, with a scale below.
    """
    tiles = []
    for title, error in errors.items():
        decades = np.log10(np.maximum(error, 1e-8)) / 8 + 1
        width = max(1, round(side * error.shape[1] / error.shape[0]))
        tile = cv2.resize(colour_map(decades), (width, side), interpolation=cv2.INTER_NEAREST)
        header = np.full((_HEADER, width, 3), 255, np.uint8)
        _write(header, title, (4, _HEADER - 6))
        tiles.append(np.pad(np.concatenate([header, tile]), ((0, 6), (0, 6), (0, 0)), constant_values=255))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    picture = np.concatenate(rows)
    scale = cv2.resize(colour_map(np.linspace(0, 1, 256)[None]), (picture.shape[1], 14))
    labels = np.full((_HEADER, picture.shape[1], 3), 255, np.uint8)
    for power in range(-8, 1, 2):
        _write(labels, f"1e{power}", (round((power + 8) / 8 * (picture.shape[1] - 40)), _HEADER - 6))
    return np.concatenate([picture, scale, labels])


def _tile(example: Mapping[str, np.ndarray], name: str, height: int) -> np.ndarray:
    shape = example["hazy"].shape
    if name == "haze density":
        density = example.get("haze_density")
        image = np.full(shape, 128, np.uint8) if density is None else colour_map(density)
    else:
        image = images.to_8_bits(example[name])
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return cv2.resize(image, (max(1, round(shape[1] * height / shape[0])), height), interpolation=cv2.INTER_AREA)


def colour_map(values: np.ndarray) -> np.ndarray:
    """float[H, W] in [0, 1] to uint8[H, W, 3] RGB, dark blue to yellow (viridis)."""
    grey = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
