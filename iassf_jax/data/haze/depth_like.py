"""Depth and air light for images that have no depth map: made up, but with the edges of the scene itself.

Real haze grows with distance: thin at the feet, thick at the horizon, thickest before the sky, and it changes where one
thing ends and another begins. Nothing here knows the true depth. A street is drawn at random (ground, walls, a backdrop
with a skyline, sky), bent by smooth relief, given offsets by colour, and then made to follow the clear image's edges
by a guided filter, with what is smooth from the top of the image down taken for sky.

Everything is a function of the haze's numbers and of the full clear image. A part of an image does not tell enough: who
hazes a part gives the full image too (`guide` of `haze.apply_haze`), and gets the same bits as by hazing and cropping.
"""

import math

import cv2
import numpy as np

Array = np.ndarray

# The street and all filters are computed at this length of the longer side; the guided filter brings back the edges.
_WORKING_SIDE = 192
# How many times farther the sky is than the lower edge of the image.
_FAR = (5.0, 30.0)


def make_layers(clear: Array, airlight: tuple[float, float, float], seed: int, night: bool) -> tuple[Array, Array]:
    """Makes up what the haze of an image depends on.

    Args:
        clear: the full image, uint8 or uint16 `[H, W, 3]`.
        airlight: its mean colour, 0..1. Brought nearer to the image where they cannot belong together: air that is
            darker than the image is smoke, and no daylight stands over a street by night.
        seed: of everything that is drawn.
        night: dark air, which lamps light up around them in dark images.

    Returns:
        Relative depth float32 `[H, W]`, 0 (near) to 1 (sky), and the air light float32 `[H, W, 3]`, 0..1.
    """
    rng = np.random.default_rng(seed)
    height, width = clear.shape[:2]
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = _unit(cv2.resize(clear, size, interpolation=cv2.INTER_AREA))
    depth = _street(rng, *small.shape[:2])
    depth = _shaped_by_colour(depth, small, rng)
    sky = _sky(small)
    depth += (1 - depth) * sky
    near = rng.uniform(0.02, 0.15)
    depth = _follow_edges((near + (1 - near) * depth).astype(np.float32), small, clear)
    return np.clip(depth, 0, 1), _air(rng, small, np.asarray(airlight, np.float32), night, (width, height))


def _unit(image: Array) -> Array:
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def _smooth_noise(rng: np.random.Generator, height: int, width: int, rows: int, columns: int) -> Array:
    """Low-frequency noise of about unit size."""
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _street(rng: np.random.Generator, height: int, width: int) -> Array:
    """Relative depth of ground, two walls, a backdrop and sky, in perspective. Lengths are in heights of the image."""
    v, u = ((np.arange(n, dtype=np.float32) + 0.5 - middle) / height for n, middle in ((height, 0), (width, width / 2)))
    horizon, tilt = rng.uniform(0.25, 0.55), rng.uniform(-0.08, 0.08)
    vanishing = rng.uniform(-0.25, 0.25) * width / height
    far = math.exp(rng.uniform(*np.log(_FAR)))
    below = v[:, None] - np.float32(horizon) - np.float32(tilt) * u[None]
    # A depth of 1 is where the ground meets the image's lower edge, so the camera stands `camera` above the ground.
    camera = np.float32(1 - horizon)
    depth = np.where(below > 0, camera / np.maximum(below, 1e-3), far)
    skyline = rng.uniform(0.0, 0.25) + 0.05 * _smooth_noise(rng, height, width, 2, 12)[:1]
    backdrop = rng.uniform(0.35, 0.9) * far
    depth = np.where(-below < skyline, np.minimum(depth, backdrop), depth)
    for side in (-1, 1):
        lateral, tall = np.exp(rng.uniform(0, np.log(8))), rng.uniform(0.3, 4)
        wall = lateral * camera / np.maximum(side * (u - vanishing), 1e-3)[None]
        depth = np.where(-below * wall < tall * camera, np.minimum(depth, wall), depth)
    relative = (np.minimum(depth, far) / far) ** rng.uniform(0.5, 1.0)
    relief = rng.uniform(0, 0.15) * _smooth_noise(rng, height, width, 4, 5)
    sigma = rng.uniform(0.01, 0.03) * max(height, width)
    return cv2.GaussianBlur((relative * np.exp(relief)).astype(np.float32), (0, 0), max(sigma, 0.3)).clip(0, 1)


def _shaped_by_colour(depth: Array, small: Array, rng: np.random.Generator) -> Array:
    """Nearer or farther by colour: things that look different mostly stand at different distances."""
    flat = cv2.bilateralFilter(small, 7, 0.1, 5)
    value = flat @ rng.standard_normal(3).astype(np.float32)
    value = (value - value.mean()) / max(float(value.std()), 0.02)
    return (depth * np.exp(rng.uniform(0, 0.2) * np.clip(value, -2, 2))).clip(0, 1)


def _sky(small: Array) -> Array:
    """0..1: what is smooth from the top of the image down, at most its upper half."""
    grey = small.mean(axis=2)
    side = (7, 7)
    variance = cv2.blur(grey * grey, side) - cv2.blur(grey, side) ** 2
    # Noise and clouds below, the edges of things above; in dark images everything is fainter.
    limit = 0.04 * (0.3 + min(1.0, 2 * float(grey.mean())))
    smooth = 1 - np.clip((np.sqrt(np.maximum(variance, 0)) - limit) / limit, 0, 1)
    from_top = np.minimum.accumulate(smooth, axis=0)
    # No lone columns: they would stand in the scene like pillars of fog.
    wide = cv2.getStructuringElement(cv2.MORPH_RECT, (max(1, grey.shape[1] // 6), 1))
    from_top = cv2.morphologyEx(from_top.astype(np.float32), cv2.MORPH_OPEN, wide)
    rows = (np.arange(len(grey), dtype=np.float32) + 0.5) / len(grey)
    fade = np.clip((0.5 - rows) / 0.3, 0, 1)[:, None]
    return cv2.blur((from_top * fade).astype(np.float32), (9, 9))


def _follow_edges(depth: Array, small: Array, clear: Array) -> Array:
    """The guided filter at working size, its coefficients applied at full size.

    Source:
        He, Sun, "Fast guided filter", arXiv 1505.00996.
    """
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    # In units of the image's own contrast, so that night scenes have edges too.
    scale = np.float32(0.25 / max(float(grey.std()), 0.02))
    guide = grey * scale
    radius = max(1, max(grey.shape) // 16)
    window = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_depth = cv2.blur(guide, window), cv2.blur(depth, window)
    covariance = cv2.blur(guide * depth, window) - mean_guide * mean_depth
    variance = cv2.blur(guide * guide, window) - mean_guide * mean_guide
    a = covariance / (np.maximum(variance, 0) + np.float32(0.02))
    b = mean_depth - a * mean_guide
    size = clear.shape[1::-1]
    a, b = (cv2.resize(cv2.blur(x, window), size, interpolation=cv2.INTER_LINEAR) for x in (a, b))
    return a * (_unit(cv2.cvtColor(clear, cv2.COLOR_RGB2GRAY)) * scale) + b


def _air(rng: np.random.Generator, small: Array, airlight: Array, night: bool, size: tuple[int, int]) -> Array:
    """The air light of each pixel: slowly varying, and at night brighter around lamps."""
    height, width = small.shape[:2]
    uneven = rng.uniform(0, 0.05) * _smooth_noise(rng, height, width, 3, 4)
    slope = rng.uniform(-0.08, 0.08) * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    mean = float(small.mean())
    if night:
        airlight = airlight + np.float32(max(0.0, mean - float(airlight.mean())))
    else:
        airlight = airlight * np.float32(min(1.0, 0.45 + 2 * mean))
    air = (airlight * (1 + uneven + slope)[..., None]).astype(np.float32)
    if night:
        air += np.float32(rng.uniform(0.5, 3) * min(1.0, max(0.0, (0.35 - mean) / 0.15))) * _glow(small)
    return cv2.resize(np.clip(air, 0, 1), size, interpolation=cv2.INTER_LINEAR)


def _glow(small: Array) -> Array:
    """The light of lamps, spread around them: what is bright and much brighter than its surroundings."""
    bright = small.max(axis=2)
    wide = max(small.shape[:2]) / 8
    lamps = np.clip((bright - cv2.GaussianBlur(bright, (0, 0), max(wide, 0.3)) - 0.35) / 0.3, 0, 1)
    light = lamps[..., None] * small
    parts = ((0.4, 0.02), (0.35, 0.05), (0.25, 0.12))
    longest = max(small.shape[:2])
    return sum(np.float32(w) * cv2.GaussianBlur(light, (0, 0), max(s * longest, 0.3)) for w, s in parts)
