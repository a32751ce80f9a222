"""What the two cameras see: reflected and emitted light, and temperature, each through its own sensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from iassf_jax.scenes.canvas import HEAT_STEP, HEAT_ZERO, Canvas, Surfaces, bands
from iassf_jax.scenes.materials import GLOW_MAX, HEADLIGHT, RGB, TILE, textures
from iassf_jax.scenes.place import Setting

LINEAR = (np.arange(256, dtype=np.float32) / 255) ** 2  # of a gamma-coded byte


class Light(NamedTuple):
    """Light of a time of day, linear: 1 lights white paper to full white."""

    ambient: tuple[float, float, float]
    direct: tuple[float, float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    mean: tuple[float, float]  # wanted mean of the 8-bit image: centre and deviation
    limits: tuple[float, float]
    noise: tuple[float, float]  # sensor noise, 8-bit counts


def _light(place: Setting, rng: np.random.Generator) -> Light:
    """Light for the scene's time of day and cloud."""

    def scaled(factor: float, *colour: float) -> RGB:
        return tuple(factor * c for c in colour)

    none = (0.0, 0.0, 0.0)
    if place.climate.lighting == "day":
        bright = rng.uniform(0.7, 1.5)
        if place.overcast:
            return Light(
                (0.78, 0.81, 0.85),
                none,
                scaled(bright, 0.86, 0.9, 0.95),
                scaled(bright, 0.95, 0.99, 1.04),
                (97, 15),
                (60, 135),
                (0.5, 2),
            )
        return Light(
            (0.3, 0.35, 0.43),
            (0.85, 0.8, 0.68),
            scaled(bright, 0.16, 0.34, 0.7),
            scaled(bright, 0.72, 0.8, 0.88),
            (97, 17),
            (60, 135),
            (0.5, 2),
        )
    if place.climate.lighting == "dusk":
        warm = rng.uniform(0.3, 1.0)
        return Light(
            (0.1, 0.105, 0.13),
            none,
            (0.1, 0.13, 0.26),
            (0.45 * warm + 0.12, 0.28 * warm + 0.1, 0.22),
            (60, 7),
            (46, 76),
            (1, 2.5),
        )
    dim = rng.uniform(0.3, 1.0)
    return Light(
        scaled(dim, 0.005, 0.006, 0.006),
        none,
        scaled(dim, 0.002, 0.003, 0.005),
        scaled(dim, 0.012, 0.011, 0.01),
        (26, 8),
        (13, 46),
        (0.8, 2.8),
    )


def _sky(shape: tuple[int, int], place: Setting, rng: np.random.Generator) -> np.ndarray:
    """Cloud cover float32[H, W], 0 clear .. 1 cloud, wider towards the horizon."""
    coarse = textures()[1][..., 0]
    r, c = rng.integers(0, TILE - 300, 2)
    patch = coarse[r : r + 90, c : c + 150].astype(np.float32)
    low = rng.uniform(100, 190) if not place.overcast else rng.uniform(40, 110)
    height = max(int(np.ceil(place.camera.horizon)), 2)
    cloud = np.clip((cv2.resize(patch, (shape[1], height), interpolation=cv2.INTER_CUBIC) - low) / 60, 0, 1)
    full = np.zeros(shape, np.float32)
    full[: min(height, shape[0])] = cloud[: shape[0]]
    return full


def _lamplight(canvas: Canvas, seen: Surfaces, place: Setting, rng: np.random.Generator) -> Sequence[np.ndarray]:
    """Light from lamps, oncoming traffic and the camera's own headlights: three float32[H, W], linear."""
    if not place.climate.lamps_on:
        return (np.zeros(canvas.shape, np.float32),) * 3
    x, y, z = (np.ascontiguousarray(p[::2, ::2]) for p in (seen.x, seen.y, seen.depth))  # light varies slowly
    power = rng.uniform(0.1, 0.35)
    shares: dict[RGB, np.ndarray] = {}  # by colour of light
    for at, colour, reach in sorted(canvas.lights, key=lambda lamp: float(lamp[0][2]))[:8]:
        square = (x - np.float32(at[0])) ** 2
        square += (y - np.float32(at[1])) ** 2
        square += (z - np.float32(at[2])) ** 2
        square *= np.float32(1 / reach**2)
        square += np.float32(0.3)
        share = np.float32(power) / (square * np.sqrt(square))
        shares[colour] = shares.get(colour, 0) + share
    strength = rng.uniform(0.15, 0.5)
    if place.name != "park" and place.across is None and rng.random() < 0.6:
        aim = (x / z - np.float32(place.heading)) * np.float32(2.6)
        beam = np.float32(strength) / (1 + (z / np.where(y < 0.05, np.float32(9), np.float32(20))) ** 2) / (1 + aim**4)
        beam *= np.clip(1.5 - 0.25 * y, 0.15, 1)  # dipped: little light above the bonnet
        shares[HEADLIGHT] = shares.get(HEADLIGHT, 0) + beam
    light = np.zeros((*x.shape, 3), np.float32)
    for colour, share in shares.items():
        light += share[..., None] * np.array(colour, np.float32)
    return cv2.split(cv2.resize(light, canvas.shape[::-1]))


def _bloom(image: np.ndarray, glow: np.ndarray) -> None:
    """Add the halo of bright lamps (float32[H, W, 3], linear) to the image."""
    height, width = glow.shape[:2]
    small = cv2.resize(glow, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
    near, far = (cv2.GaussianBlur(small, (0, 0), max(width * s / 4, 0.3)) for s in (0.006, 0.03))
    halo = 0.5 * near + 1.2 * far
    image += cv2.resize(halo, (width, height), interpolation=cv2.INTER_LINEAR)


def render_visible(canvas: Canvas, seen: Surfaces, place: Setting, rng: np.random.Generator) -> np.ndarray:
    """Render uint8[H, W, 3] RGB."""
    light, (height, width) = _light(place, rng), canvas.shape
    cloud = _sky(canvas.shape, place, rng)
    lamps = _lamplight(canvas, seen, place, rng)
    tint = rng.normal(1, 0.05, 3).astype(np.float32)
    image = np.empty((height, width, 3), np.float32)
    for rows in bands(height, width):
        part = Surfaces(*(field[rows] for field in seen))
        image[rows] = _reflect(part, light, _upness(place, rows), cloud[rows], [lamp[rows] for lamp in lamps]) * tint
    if place.climate.lamps_on:
        glow = cv2.LUT(np.ascontiguousarray(seen.glow[..., :3]), LINEAR * np.float32(GLOW_MAX))
        glow *= np.maximum(1 + seen.texture, 0.15)[..., None]  # what stands in a lit window
        image += glow
        _bloom(image, glow)
    return _develop(image, light, width, rng)


def _upness(place: Setting, rows: slice) -> np.ndarray:
    """Height in the sky of each row, float32[N, 1]: 0 at and below the horizon, 1 at the top of the image."""
    row = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    return np.clip((place.camera.horizon - row) / np.float32(max(place.camera.horizon, 1)), 0, 1)


def _reflect(seen: Surfaces, light: Light, up: np.ndarray, cloud: np.ndarray, lamps: list[np.ndarray]) -> np.ndarray:
    """Light that some rows of the scene and the sky send back, float32[N, W, 3], linear."""
    direct = seen.facing * (1 - seen.shadow)
    open_air = 1 - np.float32(0.45) * seen.shadow  # what casts a shadow hides part of the sky too
    factor = np.maximum(1 + seen.texture, 0.15)
    sky_share = seen.glow[..., 3].astype(np.float32) / 255
    rise, white = 1 - (1 - up) ** 2, np.float32(0.95 * max(light.horizon))
    planes = []
    for i, colour in enumerate(cv2.split(seen.colour)[:3]):
        received = open_air * np.float32(light.ambient[i]) + direct * np.float32(light.direct[i]) + lamps[i]
        clear = np.float32(light.horizon[i]) * (1 - rise) + np.float32(light.zenith[i]) * rise
        sky = clear + cloud * (white - clear) * np.float32(0.8)
        planes.append(cv2.LUT(colour, LINEAR) * factor * received + sky_share * sky)
    return cv2.merge(planes)


def _develop(image: np.ndarray, light: Light, width: int, rng: np.random.Generator) -> np.ndarray:
    """Lens blur, exposure, gamma and sensor noise: float32[H, W, 3] linear -> uint8[H, W, 3]."""
    blur = rng.uniform(0.3, 0.75) * width / 640
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    goal = float(np.clip(rng.normal(*light.mean), *light.limits))
    sample = np.sqrt(image[::6, ::6])
    gain = goal / 255 / max(float(sample.mean()), 1e-4)
    for _ in range(3):  # clipping lowers the mean
        gain *= goal / 255 / max(float(np.minimum(sample * gain, 1).mean()), 1e-4)
    image = np.sqrt(image) * np.float32(255 * gain)
    image += _noise(image.shape, rng.uniform(*light.noise), rng)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _noise(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Zero-mean float32 noise; each value sums two bytes far apart in one random string: near to normal, and fast."""
    data = np.frombuffer(rng.bytes(int(np.prod(shape)) + 7919), np.uint8)
    first, second = data[:-7919].reshape(shape[0], -1), data[7919:].reshape(shape[0], -1)
    total = cv2.add(first, second, dtype=cv2.CV_32F).reshape(shape)
    return (total - np.float32(255)) * np.float32(deviation / 104.5)


def render_infrared(seen: Surfaces, place: Setting, rng: np.random.Generator) -> np.ndarray:
    """Render uint8[H, W]: temperature, softened, through a drawn gain and offset."""
    height, width = seen.depth.shape
    climate = place.climate
    heat = seen.colour[..., 3].astype(np.float32) * np.float32(HEAT_STEP) + np.float32(HEAT_ZERO)
    heat += seen.warmth
    if climate.sun is not None:
        heat += seen.facing * (1 - seen.shadow) * np.float32(2.0) - seen.shadow * np.float32(1.5)
    else:
        heat += seen.shadow * np.float32(0.8)  # under things the ground keeps its warmth
    up = _upness(place, slice(0, height))
    cold = np.float32(climate.air - rng.uniform(5, 9)) - up * np.float32(rng.uniform(8, 22))
    cover = _sky((height, width), place, rng)
    sky_share = seen.glow[..., 3].astype(np.float32) / 255
    heat += sky_share * (cold + cover * np.float32(rng.uniform(3, 7)) - np.float32(HEAT_ZERO))
    heat = cv2.GaussianBlur(heat, (0, 0), max(rng.uniform(0.7, 1.3) * width / 640, 0.3))
    solid = heat[::4, ::4][sky_share[::4, ::4] < 0.5]
    ground = float(np.median(solid)) if solid.size else climate.air
    base = np.float32(rng.uniform(10, 45) if rng.random() < 0.6 else rng.uniform(60, 150))
    span = rng.uniform(110, 235 - 0.5 * base)
    above = (heat - np.float32(ground)) * np.float32(span / (35 - ground))
    image = np.where(above > 0, base + above, base * base / (base - np.minimum(above, 0)))  # the cold end is compressed
    image += rng.normal(0, rng.uniform(0.2, 0.9), (1, width)).astype(np.float32)  # column offsets of the detector
    image += _noise(image.shape, rng.uniform(0.5, 1.8), rng)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
