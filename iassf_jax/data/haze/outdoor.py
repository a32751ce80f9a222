"""Haze as it is outdoors: what stands between the camera and each thing of a scene.

The kinds `outdoor` and `dense` of `haze.py` are made here. What they have and `depth_like` has not, each seen in
photographs of real fog:

- skies are farther than everything, and by day the air has the colour of the scene's own sky, so that skies stay as
  bright as they are;
- air light is a map: it changes by a tenth or a fifth over the image, most towards the horizon and the sun;
- depth has steps, at skylines and between things, where the clear image has edges;
- fog comes in banks, along a direction or above the ground, and may level off at some transmission;
- light that was scattered more than once blurs what is far.

A scene's depth map is used where there is one; else depth is made up as in `depth_like.py`, with steps.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from iassf_jax.data.haze.depth_like import _smooth_noise, _street, _unit

Array = np.ndarray

WORKING_SIDE = 256
"""Everything smooth is made at this length of the longer side, in pixels."""
_SKY_METRES = 650.0  # of depth maps: farther is taken for sky


class Air(NamedTuple):
    """What stands before a scene, each map as large as the image.

    Attributes:
        transmission: float32 `[H, W]`, 0 (hidden) to 1 (no haze).
        light: float32 `[H, W, 3]`, 0..1, what the air itself sends to the camera.
        blur: float32 `[H, W]`, 0..1, share of each pixel's light that comes from around it.
    """

    transmission: Array
    light: Array
    blur: Array


def make_air(
    clear: Array, airlight: tuple[float, float, float], beta: float, floor: float, seed: int, depth: Array | None = None
) -> Air:
    """Draws the air of one scene.

    Args:
        clear: the full image, uint8 or uint16 `[H, W, 3]`, RGB.
        airlight: colour of the air, 0..1, where the scene's sky does not give it.
        beta: optical depth of the farthest things before the sky, > 0.
        floor: what transmission levels off at, 0..1; 0: it does not.
        seed: of everything that is drawn.
        depth: float metres `[H, W]`; None: made up.

    Returns:
        The air.
    """
    rng = np.random.default_rng(seed)
    height, width = clear.shape[:2]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = _unit(cv2.resize(clear, size, interpolation=cv2.INTER_AREA))
    if depth is None:
        distance, sky = _made_up(rng, small)
    else:
        distance, sky = _relative(
            cv2.resize(np.ascontiguousarray(depth, np.float32), size, interpolation=cv2.INTER_NEAREST)
        )
    path = beta * (distance + sky * (rng.uniform(3, 10) - distance)) * _banks(rng, *small.shape[:2])
    t = np.exp(-path)
    if floor > 0:
        t = _levelled(rng, t, sky, floor)
    blur = rng.uniform(0, 0.8) * (1 - t) if rng.random() < 0.3 else np.zeros_like(t)
    light = _light(rng, small, sky, np.asarray(airlight, np.float32))
    t = np.clip(_enlarged(t, small, clear, depth, size), 0.0, 1.0)
    full = width, height
    light, blur = (cv2.resize(x.astype(np.float32), full, interpolation=cv2.INTER_LINEAR) for x in (light, blur))
    return Air(t.astype(np.float32), np.clip(light, 0, 1), np.clip(blur, 0, 1))


def blurred(clear: Array, air: Air) -> Array:
    """A clear image float32 `[H, W, 3]` as light scattered more than once leaves it."""
    if not air.blur.any():
        return clear
    sigma = max(clear.shape[:2]) / 160
    wide = cv2.GaussianBlur(clear, (0, 0), sigma)
    return clear + air.blur[..., None] * (wide - clear)


def sky_of(small: Array) -> Array:
    """Where the sky is in a clear image: float32 `[H, W, 3]` of 0..1, RGB -> float32 `[H, W]`, 0..1.

    By day: what has the colour of the smooth region that begins at the top edge, and is connected with it, also
    through trees. In dark images: that region alone, faded out towards the middle.
    """
    height, width = small.shape[:2]
    grey = small.mean(axis=2)
    mean = float(grey.mean())
    deviation = np.sqrt(np.maximum(cv2.blur(grey * grey, (5, 5)) - cv2.blur(grey, (5, 5)) ** 2, 0))
    from_top = np.minimum.accumulate(deviation < 0.03 * (0.3 + min(1.0, 2 * mean)), axis=0)
    wide = np.ones((1, max(1, width // 20)), np.uint8)
    top = cv2.morphologyEx(from_top.astype(np.uint8), cv2.MORPH_OPEN, wide).astype(bool)
    top[height // 2 :] = False
    none = np.zeros((height, width), np.float32)
    if top.mean() < 0.004:
        return none
    if mean < 0.15:
        fade = np.clip((0.45 - (np.arange(height) + 0.5) / height) / 0.25, 0, 1)[:, None]
        return cv2.blur((top * fade).astype(np.float32), (7, 7))
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    colour = np.median(lab[top], axis=0)
    if colour[0] < np.percentile(lab[..., 0], 40):
        return none  # a wall or a tree
    difference = lab - colour
    like = np.maximum(np.abs(difference[..., 0]) / 14, np.hypot(difference[..., 1], difference[..., 2]) / 9) < 1
    like |= top
    lowest = int(np.flatnonzero(top.any(axis=1))[-1] + 0.12 * height)
    like[min(lowest, int(0.62 * height)) :] = False
    closed = cv2.morphologyEx(like.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    _, regions = cv2.connectedComponents(closed)
    found = np.setdiff1d(np.unique(regions[top]), [0])
    return cv2.blur((np.isin(regions, found) & like).astype(np.float32), (3, 3))


def _made_up(rng: np.random.Generator, small: Array) -> tuple[Array, Array]:
    """Relative distance, 1 at the farthest thing, and the sky."""
    height, width = small.shape[:2]
    sky = sky_of(small)
    distance = _street(rng, height, width)
    distance = distance * np.exp(_steps(rng, small))
    distance = np.where(sky > 0.5, 0, distance)
    distance = distance / max(float(np.percentile(distance, 97)), 1e-3)
    # Everything at about the same distance: a wall, a hillside, a view from above.
    flat = rng.uniform(0, 1) ** 2
    distance = (1 - flat) * np.minimum(distance, 1.5) + flat * rng.uniform(0.3, 1)
    near = rng.uniform(0, 0.1)
    return (near + (1 - near) * distance).astype(np.float32), sky


def _steps(rng: np.random.Generator, small: Array) -> Array:
    """Logarithms of factors of distance that change where the image has edges: things stand before each other."""
    height, width = small.shape[:2]
    image = np.rint(255 * small).astype(np.uint8)
    rows = int(rng.integers(4, 13))
    columns = max(1, round(rows * width / height))
    y = ((np.arange(rows)[:, None] + rng.uniform(0.1, 0.9, (rows, columns))) * height / rows).astype(int)
    x = ((np.arange(columns)[None] + rng.uniform(0.1, 0.9, (rows, columns))) * width / columns).astype(int)
    markers = np.zeros((height, width), np.int32)
    markers[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] = 1 + np.arange(rows * columns).reshape(rows, columns)
    markers = cv2.watershed(cv2.GaussianBlur(image, (0, 0), 1), markers)
    # Things of one colour are mostly one thing: half of a step follows the mean colour, half is its own.
    count = rows * columns + 1
    label = np.clip(markers, 0, count - 1)
    size = np.maximum(np.bincount(label.ravel(), minlength=count), 1)
    mean = np.stack([np.bincount(label.ravel(), small[..., c].ravel(), count) / size for c in range(3)], axis=-1)
    by_colour = mean @ rng.standard_normal(3)
    by_colour = (by_colour - by_colour.mean()) / max(float(by_colour.std()), 0.02)
    step = rng.uniform(0, 0.7) * (by_colour + rng.standard_normal(count)) / math.sqrt(2)
    return cv2.medianBlur(np.clip(step, -1.5, 1.5).astype(np.float32)[label], 5)


def _relative(depth: Array) -> tuple[Array, Array]:
    """As `_made_up`, of metres."""
    sky = (depth >= _SKY_METRES).astype(np.float32)
    things = depth[sky < 0.5]
    far = float(np.percentile(things, 95)) if things.size else 1.0
    return np.where(sky > 0.5, 0, np.minimum(depth / max(far, 1e-3), 3)).astype(np.float32), sky


def _banks(rng: np.random.Generator, height: int, width: int) -> Array:
    """Factors of optical depth: fog that comes and goes."""
    factors = np.ones((height, width), np.float32)
    y, x = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in (height, width))
    if rng.random() < 0.35:
        cells = rng.integers(2, 6, 2)
        factors *= np.exp(rng.uniform(0.1, 0.5) * _smooth_noise(rng, height, width, *cells))
    if rng.random() < 0.3:  # along a direction
        angle = rng.uniform(0, 2 * math.pi)
        factors *= np.exp(rng.uniform(0.3, 1.5) * (math.cos(angle) * x[None] + math.sin(angle) * y[:, None]))
    if rng.random() < 0.2:  # above the ground
        factors *= np.exp(rng.uniform(0.5, 2.0) * np.minimum(y, 0.2)[:, None])
    return factors


def _levelled(rng: np.random.Generator, t: Array, sky: Array, floor: float) -> Array:
    """Transmission that does not get below about `floor`; most skies do."""
    level = np.clip(floor * np.exp(0.25 * _smooth_noise(rng, *t.shape, 3, 4)), 0, 1)
    if rng.random() < 0.6:
        level = level * (1 - sky)
    return level + (1 - level) * t


def _light(rng: np.random.Generator, small: Array, sky: Array, airlight: Array) -> Array:
    """The air light as a map, float32 `[h, w, 3]`."""
    height, width = small.shape[:2]
    own = sky > 0.5
    if own.mean() > 0.03 and float(small[own].mean()) > 0.25 and rng.random() < 0.85:
        colour = small[own].mean(axis=0)
        airlight = colour + rng.uniform(0.3, 1) * (colour.mean() - colour)
        airlight = airlight * rng.uniform(0.88, 1.08)
    elif rng.random() < 0.5:  # a dim day
        airlight = airlight * min(1.0, 0.45 + 2 * float(small.mean()))
    elif float(small.mean()) < 0.25:  # fog that is lit itself; what is less bright over a dark scene is its dim sky
        airlight = airlight * (rng.uniform(0.9, 1.0) / airlight.max())
    # Slow changes; mostly darker downwards, where fog has taken more of the light.
    down = rng.uniform(-0.1, 0.3) if rng.random() < 0.6 else rng.uniform(-0.08, 0.08)
    field = rng.uniform(0, 0.1) * _smooth_noise(rng, height, width, 2, 3)
    field -= down * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    tint = rng.uniform(0, 0.025) * np.stack([_smooth_noise(rng, height, width, 2, 2) for _ in range(3)], axis=-1)
    light = airlight * np.maximum(1 + field[..., None] + tint, 0.2)
    if rng.random() < 0.4:  # towards the sun
        y, x = (np.linspace(0, 1, n, dtype=np.float32) for n in (height, width))
        across = (x - rng.uniform(-0.2, 1.2))[None] ** 2 + (y - rng.uniform(-0.2, 0.6))[:, None] ** 2
        spot = np.exp(-across / (2 * rng.uniform(0.2, 0.7) ** 2))
        warm = 1 + rng.uniform(0, 0.12) * np.array([1, 0, -1], np.float32)
        share = rng.uniform(0.05, 0.35) if rng.random() < 0.7 else rng.uniform(0.35, 0.8)
        light = light * ((1 - share / 2) + share * spot[..., None] * warm)
    return light.astype(np.float32)


def _enlarged(t: Array, small: Array, clear: Array, depth: Array | None, size: tuple[int, int]) -> Array:
    """Transmission at the image's size, with its edges (He and Sun's fast guided filter, arXiv 1505.00996)."""
    full = clear.shape[1::-1]
    if full == size:
        return t
    large = cv2.resize(t.astype(np.float32), full, interpolation=cv2.INTER_LINEAR)
    guide = small @ np.float32([0.299, 0.587, 0.114])
    scale = np.float32(0.25 / max(float(guide.std()), 0.02))
    mean = lambda x: cv2.blur(x, (5, 5))  # noqa: E731
    g, t = guide * scale, t.astype(np.float32)
    variance = np.maximum(mean(g * g) - mean(g) ** 2, 0)
    slope = (mean(g * t) - mean(g) * mean(t)) / (variance + np.float32(0.003))
    offset = mean(t) - slope * mean(g)
    slope, offset = (cv2.resize(mean(x), full, interpolation=cv2.INTER_LINEAR) for x in (slope, offset))
    fine = slope * (_unit(cv2.cvtColor(clear, cv2.COLOR_RGB2GRAY)) * scale) + offset
    # No farther from the plain enlargement than the neighbourhood's extremes.
    low, high = (cv2.resize(f(t, np.ones((5, 5), np.uint8)), full) for f in (cv2.erode, cv2.dilate))
    return np.clip(fine, np.minimum(low, large), np.maximum(high, large))
