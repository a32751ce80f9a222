"""What cameras do before a network sees the images: noise and JPEG on the hazy one, other levels of the infrared one,
which may lie a little off, or be missing: then the hazy image's luma stands in its place.

Only the network's inputs change, never the clear image. The infrared image is input and part of the fused image's
target at once, and is the same in both. Everything is off unless a config says otherwise.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from iassf_jax.data.augment.drawn import Range, draw, happens, range_problems

Array = np.ndarray

# Field of `data.degrade` -> how far it may reach.
_CHANCES = ("noise_chance", "jpeg_chance", "infrared_chance", "misaligned_chance", "no_infrared_chance")
_RANGES: Mapping[str, Range] = {
    "shot_noise": (0, 1),
    "read_noise": (0, 1),
    "jpeg_quality": (1, 100),
    "infrared_gain": (0, 100),
    "infrared_gamma": (0.01, 100),
    "infrared_contrast": (0, 100),
    "infrared_offset": (-1, 1),
    "misaligned_by": (-1, 1),
}


def problems_of(settings: Mapping[str, Any]) -> list[str]:
    """What cannot work in a `data.degrade` section, a sentence each."""
    return range_problems("data.degrade", settings, _CHANCES, _RANGES)


def degrade(hazy: Array, infrared: Array, rng: np.random.Generator, settings: Mapping[str, Any]) -> tuple[Array, Array]:
    """Degrades the two inputs of the network.

    Args:
        hazy: uint8 or uint16 `[H, W, 3]`, RGB.
        infrared: uint8 or uint16 `[H, W]` or `[H, W, C]`.
        rng: of all draws; nothing is drawn for what is off.
        settings: the `data.degrade` section of a config.

    Returns:
        Both, of their types and shapes.
    """
    if happens("noise_chance", rng, settings):
        hazy = add_noise(hazy, rng, *(draw(name, rng, settings) for name in ("shot_noise", "read_noise")))
    if happens("jpeg_chance", rng, settings):
        hazy = recompress(hazy, round(draw("jpeg_quality", rng, settings)))
    if happens("infrared_chance", rng, settings):
        names = ("infrared_gain", "infrared_gamma", "infrared_contrast", "infrared_offset")
        infrared = change_levels(infrared, *(draw(name, rng, settings) for name in names))
    if happens("misaligned_chance", rng, settings):
        infrared = shift(infrared, *(draw("misaligned_by", rng, settings) for _ in range(2)))
    if happens("no_infrared_chance", rng, settings):
        infrared = cv2.cvtColor(hazy, cv2.COLOR_RGB2GRAY)
    return hazy, infrared


def add_noise(image: Array, rng: np.random.Generator, shot: float, read: float) -> Array:
    """Sensor noise: normal, of variance `shot * x + read ** 2` where the image is x of 0..1."""
    maximum = np.float32(np.iinfo(image.dtype).max)
    x = image.astype(np.float32) / maximum
    deviation = np.sqrt(np.float32(shot) * x + np.float32(read * read))
    return _rounded(x + deviation * rng.standard_normal(x.shape, np.float32), maximum, image.dtype)


def recompress(image: Array, quality: int) -> Array:
    """To JPEG and back; 16-bit images pass through 8 bits."""
    wide = image.dtype == np.uint16
    eight = np.rint(image / np.float32(257)).astype(np.uint8) if wide else image
    _, data = cv2.imencode(".jpg", eight[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    eight = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    return eight.astype(np.uint16) * np.uint16(257) if wide else np.ascontiguousarray(eight)


def change_levels(image: Array, gain: float, gamma: float, contrast: float, offset: float) -> Array:
    """Another camera's levels: gain * x ** gamma of 0..1, then contrast around its mean, then offset. Never inverts."""
    maximum = np.float32(np.iinfo(image.dtype).max)
    x = np.float32(gain) * (image.astype(np.float32) / maximum) ** np.float32(gamma)
    mean = x.mean()
    return _rounded(mean + np.float32(contrast) * (x - mean) + np.float32(offset), maximum, image.dtype)


def shift(image: Array, down: float, right: float) -> Array:
    """Moved by shares of the longest side; what comes in is mirrored."""
    height, width = image.shape[:2]
    y, x = (share * max(height, width) for share in (down, right))
    move = np.float32([[1, 0, x], [0, 1, y]])
    return cv2.warpAffine(image, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _rounded(x: Array, maximum: float, dtype: np.dtype) -> Array:
    return np.rint(np.clip(x, 0, 1) * maximum).astype(dtype)
