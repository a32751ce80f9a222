"""What the things of a scene are made of: paint, the colours to choose from, and texture tiles."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

GLOW_MAX = 4.0  # brightest emitted light that fits the glow bytes, linear, 1 = white paper in daylight
TILE = 1024  # texels along a texture tile
FINE, COARSE = 128.0, 8.0  # texels a metre of the two texture scales: tiles of 8 m and 128 m

RGB = tuple[float, float, float]
T = TypeVar("T")

GLASS = (38, 46, 54)
HEADLIGHT = (1.0, 0.97, 0.88)  # linear
COATS = (
    (24, 26, 34),
    (30, 30, 30),
    (52, 58, 84),
    (120, 40, 40),
    (196, 196, 190),
    (88, 92, 70),
    (150, 130, 96),
    (60, 90, 130),
    (215, 190, 60),
    (70, 66, 62),
    (36, 44, 40),
)
TROUSERS = ((28, 30, 40), (44, 52, 76), (60, 58, 54), (110, 100, 84), (20, 20, 22), (36, 36, 40))
BODIES = (
    (228, 228, 226),
    (196, 200, 204),
    (150, 154, 160),
    (90, 94, 100),
    (28, 28, 32),
    (36, 40, 52),
    (150, 30, 30),
    (40, 70, 140),
    (190, 170, 60),
    (60, 100, 80),
    (120, 100, 84),
    (214, 206, 190),
    (22, 30, 70),
)
WALLS = (
    (172, 160, 144),
    (150, 92, 70),
    (196, 190, 180),
    (120, 116, 112),
    (188, 164, 128),
    (134, 78, 62),
    (206, 204, 198),
    (160, 150, 156),
    (110, 96, 86),
    (178, 176, 150),
    (92, 100, 110),
)
GREENS = ((58, 84, 40), (70, 92, 44), (46, 70, 36), (84, 100, 50), (40, 62, 42))
AUTUMN = ((140, 104, 40), (150, 80, 36), (118, 92, 44))


class Paint(NamedTuple):
    """What a surface looks like to both cameras."""

    rgb: RGB  # reflectance, gamma-coded, 0..255
    heat: float  # temperature, degrees Celsius
    glow: RGB = (0.0, 0.0, 0.0)  # emitted visible light, linear, 0..GLOW_MAX
    grain: float = 0.05  # relative contrast of centimetre texture, visible only
    blotch: float = 0.06  # relative contrast of texture from decimetres to tens of metres, visible only
    brick: float = 0.0  # relative contrast of masonry courses, visible only
    haze: float = 0.4  # temperature texture, degrees Celsius, infrared only
    person: bool = False
    mirror: float = 0.0  # share of sky that the surface sends back, as water does

    def shade(self, factor: float) -> Paint:
        """The same paint with its colour scaled."""
        return self._replace(rgb=tuple(min(255.0, c * factor) for c in self.rgb))

    def warm(self, degrees: float) -> Paint:
        """The same paint, warmer."""
        return self._replace(heat=self.heat + degrees)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def _octave(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """float32[size, size] of smooth noise that tiles, `cells` lattice cells along each side, deviation near 1."""
    grid = np.pad(rng.standard_normal((cells, cells), np.float32), 2, mode="wrap")
    step = size // cells
    big = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    return big[2 * step : 2 * step + size, 2 * step : 2 * step + size] * 1.4


def _masonry(rng: np.random.Generator) -> np.ndarray:
    """float32[TILE, TILE]: courses of 25 x 12.5 cm stones, each of its own tone, with dark joints."""
    rows, cols = np.mgrid[:TILE, :TILE]
    course = rows // 16
    stone = (cols + 16 * (course % 2)) % TILE
    tones = rng.standard_normal((TILE // 16, TILE // 32)).astype(np.float32)
    joint = (rows % 16 < 2) | (stone % 32 < 2)
    return np.where(joint, -1.6, tones[course, stone // 32] * 0.8).astype(np.float32)


@functools.cache
def textures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture tiles that wrap round, the same in every process (fixed seed); values are 128 + 40 * noise.

    Returns:
      fine: uint8[TILE, TILE, 4]: grain, decimetre blotches, masonry, infrared texture.
      coarse: uint8[TILE, TILE, 2]: metre blotches for visible and for infrared.
      leaves: uint8[TILE, TILE]: clumps of several sizes, for foliage.
    """
    rng = np.random.default_rng(20241112)
    grain = rng.standard_normal((TILE, TILE), np.float32) * 0.8 + _octave(rng, 256, TILE) * 0.6
    middle = sum(_octave(rng, n, TILE) * w for n, w in ((8, 0.5), (32, 0.5), (64, 0.5), (128, 0.4)))
    warmth = sum(_octave(rng, n, TILE) * w for n, w in ((8, 0.6), (16, 0.5), (64, 0.4), (256, 0.3)))
    coarse = [sum(_octave(rng, n, TILE) * w for n, w in ((8, 0.6), (32, 0.6), (64, 0.5), (256, 0.4))) for _ in "vi"]
    leaves = sum(_octave(rng, n, TILE) * w for n, w in ((64, 0.6), (128, 0.6), (256, 0.4), (512, 0.3)))

    def code(*planes: np.ndarray) -> np.ndarray:
        tile = np.clip(128 + 40 * np.stack(planes, -1), 0, 255).astype(np.uint8)
        tile.flags.writeable = False  # shared by every scene of the process
        return tile

    return code(grain, middle, _masonry(rng), warmth), code(*coarse), code(leaves)[..., 0]


def sample_textures(u: np.ndarray, v: np.ndarray, sharp: np.ndarray, contrast: list) -> tuple[np.ndarray, np.ndarray]:
    """Sample the tiles at surface coordinates u, v (metres), where a metre spans `sharp` pixels.

    `contrast` holds grain, blotch, brick and haze of the paints. Texture finer than a pixel fades out.
    Returns the relative change of reflectance, and the temperature change in degrees.
    """
    fine, coarse, _ = textures()
    cells = ((v * FINE).astype(np.int32) & (TILE - 1)) * TILE + ((u * FINE).astype(np.int32) & (TILE - 1))
    small = np.take(fine.reshape(-1, 4).view(np.uint32)[:, 0], cells).view(np.uint8).reshape(*cells.shape, 4)
    period = np.float32(TILE / COARSE)
    wrapped = [(t / period - np.floor(t / period)) * np.float32(TILE) for t in (u, v)]
    large = cv2.remap(coarse, *wrapped, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    grain, middle, brick, warm = (s.astype(np.float32) - 128 for s in cv2.split(small))
    blotch, drift = (s.astype(np.float32) - 128 for s in cv2.split(large))
    of_grain, of_blotch, of_brick, of_warmth = contrast
    mid = np.minimum(sharp * 0.15, 1)
    texture = grain * of_grain * np.minimum(sharp * 0.03, 1)
    texture += brick * of_brick * np.minimum(sharp * 0.06, 1)
    texture += of_blotch * (middle * mid + blotch)
    return texture, of_warmth * (0.6 * warm * mid + drift)
