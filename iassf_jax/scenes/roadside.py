"""Trees, lamps, signs, signals and fences: each draws itself on the canvas at (x, z) metres and casts its shadow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iassf_jax.scenes.canvas import NEAR, Canvas
from iassf_jax.scenes.materials import AUTUMN, GLOW_MAX, GREENS, RGB, TILE, Paint, pick, textures


def foliage(canvas: Canvas, box: tuple, z: float, form: str, rgb: RGB, rng: np.random.Generator) -> None:
    """Leaves within a box (left, right, bottom, top metres) at depth z; form "round", "cone" or "hedge"."""
    left, right, bottom, top = box
    if z < NEAR or not canvas.in_view(left, right, z, z):
        return
    m, n = (int(np.clip(min(side / 0.14, canvas.size(side, z)), 6, 110)) for side in (right - left, top - bottom))
    leaves = textures()[2]
    r, c = rng.integers(0, TILE - 110, 2)
    noise = leaves[r : r + n, c : c + m].astype(np.float32) - 128
    u = np.linspace(-1, 1, m, dtype=np.float32)
    v = np.linspace(1, -1, n, dtype=np.float32)[:, None]
    if form == "round":
        inside = np.minimum((1 - 1.4 * (u * u + v * v)) * 1.5, 0.7)  # well below 0 at the box, or the box would show
    elif form == "cone":
        inside = (0.85 - v) * 0.55 - np.abs(u) * 1.3
    else:
        inside = np.minimum(np.minimum((0.6 - v) * 2, (0.88 - np.abs(u)) * 6), 0.8)
    field = np.clip(128 + 110 * inside + 0.75 * noise, 0, 255).astype(np.uint8)
    tones = np.clip(104 + 42 * v - 14 * u + 0.9 * noise[::-1, ::-1], 0, 255).astype(np.uint8)
    paint = Paint(rgb, canvas.climate.air + rng.uniform(-0.8, 0.6), grain=0.16, blotch=0.1, haze=0.5)
    warm = canvas.climate.sun is not None
    paints = [
        paint.shade(s).warm(w * (0.8 + warm))
        for s, w in ((0.34, -0.6), (0.55, -0.3), (0.78, 0.0), (1.0, 0.3), (1.24, 0.6))
    ]
    canvas.stamp(field, tones, box, z, paints)


def tree(canvas: Canvas, x: float, z: float, height: float, rng: np.random.Generator) -> None:
    """A broadleaf tree or a conifer: trunk, a few boughs, leaves with gaps."""
    air = canvas.climate.air
    cone = rng.random() < 0.18
    girth = 0.018 * height * rng.uniform(0.8, 1.5)
    clear = height * (0.08 if cone else rng.uniform(0.22, 0.4))
    bark = Paint(
        pick(rng, ((74, 62, 50), (92, 84, 74), (60, 50, 42))),
        air + rng.uniform(0.3, 1.6),
        grain=0.12,
        blotch=0.2,
        haze=0.8,
    )
    canvas.board(
        x,
        z,
        [
            (-girth * 1.5, 0),
            (girth * 1.5, 0),
            (girth, 0.15 * height),
            (0.5 * girth, 0.8 * height),
            (-0.5 * girth, 0.8 * height),
            (-girth, 0.15 * height),
        ],
        bark,
    )
    spread = height * (rng.uniform(0.18, 0.27) if cone else rng.uniform(0.35, 0.53))
    if not cone and canvas.size(height, z) > 60:
        for lean in rng.uniform(-0.8, 0.8, 4):
            foot = rng.uniform(0.9, 1.5) * clear
            tip = min(foot + 0.35 * height, 0.92 * height)
            canvas.line(
                np.array(
                    [(x, foot, z), (x + 0.4 * lean * spread, 0.6 * foot + 0.4 * tip, z), (x + lean * spread, tip, z)]
                ),
                0.7 * girth,
                bark,
            )
    green = pick(rng, GREENS + AUTUMN[: int(rng.integers(0, 4))])
    foliage(canvas, (x - spread, x + spread, clear * 0.65, 1.08 * height), z, "cone" if cone else "round", green, rng)
    crown = [
        (x + spread * 0.78 * np.cos(a), clear + (height - clear) * (0.5 + 0.45 * np.sin(a)), z)
        for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ]
    canvas.cast(crown)
    canvas.cast([(x - girth, 0, z), (x + girth, 0, z), (x - girth, clear, z), (x + girth, clear, z)])


def pole(canvas: Canvas, x: float, z: float, height: float, radius: float, paint: Paint) -> None:
    """A round post."""
    canvas.board(x, z, [(-radius, 0), (radius, 0), (0.7 * radius, height), (-0.7 * radius, height)], paint)
    canvas.cast([(x - radius, 0, z), (x + radius, 0, z), (x, height, z)])


def street_lamp(canvas: Canvas, x: float, z: float, height: float, reach: float, colour: RGB) -> None:
    """A lamp whose arm reaches `reach` metres to the right (negative: left); lights the scene when lamps are on."""
    air, on = canvas.climate.air, canvas.climate.lamps_on
    metal = Paint((112, 116, 118), air + 0.5, grain=0.03)
    pole(canvas, x, z, height, 0.1, metal)
    arm = np.array([(x, height - 0.4, z), (x + 0.3 * reach, height, z), (x + reach, height + 0.1, z)])
    canvas.line(arm, 0.09, metal)
    glow = tuple(GLOW_MAX * c for c in colour) if on else (0.0, 0.0, 0.0)
    bulb = Paint((220, 220, 210), air + (9 if on else 1), glow, grain=0, blotch=0)
    canvas.disc(x + reach, height, z, 0.36, 0.14, bulb)
    if on:
        canvas.lights.append((np.array([x + reach, height - 0.2, z]), colour, height))


def sign(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A traffic sign on its post: colour and shape that infrared hardly sees."""
    air, height, kind = canvas.climate.air, rng.uniform(2.1, 2.9), int(rng.integers(5))
    pole(canvas, x, z, height, 0.035, Paint((150, 152, 154), air + 0.5))

    def flat(*rgb: float) -> Paint:
        return Paint(rgb, air + 0.8, grain=0.01, blotch=0.02, haze=0.2)

    def panel(u0: float, u1: float, v: float, paint: Paint) -> None:
        canvas.board(x, z, [(u0, height - v), (u1, height - v), (u1, height + v), (u0, height + v)], paint)

    if kind == 0:  # prohibition
        for radius, paint in ((0.34, flat(196, 24, 30)), (0.25, flat(236, 236, 232))):
            canvas.disc(x, height, z, radius, radius, paint)
        panel(-0.12, 0.12, 0.05, flat(30, 30, 34))
    elif kind == 1:  # warning
        for size, paint in ((0.46, flat(200, 30, 30)), (0.3, flat(238, 214, 70))):
            canvas.board(x, z, [(-size, height - 0.58 * size), (size, height - 0.58 * size), (0, height + size)], paint)
    elif kind == 2:  # mandatory
        canvas.disc(x, height, z, 0.33, 0.33, flat(24, 70, 160))
        arrow = ((-0.06, -0.2), (0.06, -0.2), (0.06, 0.05), (0.15, 0.05), (0, 0.24), (-0.15, 0.05), (-0.06, 0.05))
        canvas.board(x, z, [(u, height + v) for u, v in arrow], flat(236, 238, 240))
    elif kind == 3:  # parking, or crossing
        panel(-0.33, 0.33, 0.33, flat(30, 84, 170))
        canvas.board(x, z, [(-0.2, height - 0.2), (0.2, height - 0.2), (0.0, height + 0.24)], flat(236, 238, 240))
    else:  # street name
        panel(-0.1, 1.1, 0.16, flat(20, 96, 70))
        for u in (0.05, 0.4, 0.7):
            panel(u, u + 0.25, 0.06, flat(232, 236, 232))


def traffic_light(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A signal on its post, one lamp on."""
    air = canvas.climate.air
    pole(canvas, x, z, 3.6, 0.07, Paint((70, 74, 76), air + 0.5))
    canvas.board(x, z, [(-0.18, 2.6), (0.18, 2.6), (0.18, 3.7), (-0.18, 3.7)], Paint((22, 24, 24), air + 2))
    on = int(rng.integers(3))
    for i, colour in enumerate(((3.0, 0.1, 0.06), (2.8, 1.5, 0.1), (0.1, 2.6, 1.2))):
        dark = tuple(24 + 24 * c for c in colour)
        glow = tuple(c * (1.2 if canvas.climate.lamps_on else 0.5) for c in colour) if i == on else (0.0, 0.0, 0.0)
        canvas.disc(x, 3.48 - 0.33 * i, z, 0.12, 0.12, Paint(dark, air + (5 if i == on else 2), glow, blotch=0))


def gantry(canvas: Canvas, x0: float, x1: float, z: float, rng: np.random.Generator) -> None:
    """A sign bridge across a motorway."""
    air = canvas.climate.air
    metal = Paint((140, 144, 146), air + 0.5)
    for x in (x0, x1):
        pole(canvas, x, z, 7.6, 0.2, metal)
    canvas.line(np.array([(x0, 7.2, z), (x1, 7.2, z)]), 0.4, metal)
    board = pick(rng, ((20, 96, 66), (26, 70, 150)))
    for x in np.arange(x0 + 1.5, x1 - 5, 6.0):
        flat = Paint(board, air + 0.8, grain=0.01, blotch=0.02, haze=0.2)
        canvas.board(x, z - 0.1, [(0, 5.4), (4.6, 5.4), (4.6, 8.0), (0, 8.0)], flat)
        for v in (7.2, 6.5):
            wide = rng.uniform(1.5, 4.0)
            canvas.board(
                x,
                z - 0.15,
                [(0.3, v - 0.2), (wide, v - 0.2), (wide, v + 0.2), (0.3, v + 0.2)],
                flat._replace(rgb=(232, 236, 234)),
            )


def railing(
    canvas: Canvas, a: np.ndarray, b: np.ndarray, height: float, paint: Paint, rails: Sequence[tuple[float, float]]
) -> None:
    """A piece of a fence between two ground points: rails from and to a share of the height, and a post at a."""
    up = np.array([0.0, height, 0.0])
    bars = [np.array([a + up * low, b + up * low, b + up * high, a + up * high]) for low, high in rails]
    canvas.fill_all(bars, paint)
    if canvas.size(0.1, a[2]) > 0.4:
        canvas.board(a[0], a[2], [(-0.05, 0), (0.05, 0), (0.05, height), (-0.05, height)], paint.shade(0.85))
