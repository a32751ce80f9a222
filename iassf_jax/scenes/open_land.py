"""Open land: a far skyline over water, a field or snow, with little between it and the camera."""

from __future__ import annotations

import numpy as np

from iassf_jax.scenes.canvas import FAR, HEAT_ZERO, NEAR, Canvas
from iassf_jax.scenes.materials import GREENS, WALLS, Paint, pick
from iassf_jax.scenes.place import Setting
from iassf_jax.scenes.roadside import foliage, railing, tree
from iassf_jax.scenes.traffic import person

_FIELDS = ((82, 100, 48), (112, 106, 66), (140, 118, 84), (96, 84, 66), (226, 229, 234), (205, 210, 218))
_WATER = ((34, 46, 46), (44, 54, 50), (30, 40, 52), (58, 60, 50))


def lay_out_open_land(canvas: Canvas, place: Setting, rng: np.random.Generator) -> None:
    """Draw the ground, then everything on it from far to near."""
    air = place.climate.air
    near = rng.uniform(3, 30) if place.name == "shore" else 0.0
    bank = rng.uniform(60, 420)
    field = Paint(pick(rng, _FIELDS), air + rng.uniform(-1, 2), grain=0.14, blotch=0.14, haze=0.5)
    canvas.on_ground = True
    canvas.fill(_plane(NEAR, FAR), field)
    if place.name == "shore":
        canvas.fill(_plane(near, bank), _water(air, rng))
    canvas.on_ground = False
    _hills(canvas, air, rng)
    things = [*_skyline(canvas, place, bank, rng), *_trees(canvas, place, near, bank, rng)]
    things += _small_things(canvas, place, near, bank, rng)
    for _, draw in sorted(things, key=lambda thing: -thing[0]):
        draw()


def _plane(z0: float, z1: float) -> np.ndarray:
    return np.array([(-6.0 - z0, 0, z0), (6.0 + z0, 0, z0), (6.0 + 1.6 * z1, 0, z1), (-6.0 - 1.6 * z1, 0, z1)])


def _water(air: float, rng: np.random.Generator) -> Paint:
    mirror, blotch = rng.uniform(0.25, 0.8), rng.uniform(0.05, 0.35)
    # To infrared water is no mirror: what the sky's share will add to its temperature is taken off.
    heat = air + rng.uniform(-3, 3) - mirror * (air - 7 - HEAT_ZERO)
    return Paint(pick(rng, _WATER), heat, grain=0.02, blotch=blotch, haze=0.3, mirror=mirror)


def _hills(canvas: Canvas, air: float, rng: np.random.Generator) -> None:
    for z in (590, 520, 450)[: int(rng.integers(0, 4))]:
        x = np.linspace(-700, 700, 50)
        waves = ((22, 160), (11, 60), (4, 20))
        top = np.maximum(rng.uniform(-10, 90) + sum(a * np.sin(x / w + rng.uniform(0, 6)) for a, w in waves), 0.5)
        outline = [(-700, 0), *zip(x, top, strict=True), (700, 0)]
        colour = pick(rng, ((74, 92, 96), (64, 84, 62), (90, 100, 88), (120, 118, 110)))
        canvas.board(0, z, outline, Paint(colour, air - 2, blotch=0.15))


def _skyline(canvas: Canvas, place: Setting, bank: float, rng: np.random.Generator) -> list[tuple]:
    """Towers and blocks behind the bank, in clusters, each with rows of windows."""
    listed = []
    tall = rng.uniform(15, 140)
    for _ in range(int(rng.integers(0, 5))):
        middle, spread = rng.normal(0, 0.35), rng.uniform(0.03, 0.3)
        for _ in range(int(rng.integers(2, 14))):
            z = min(bank + rng.uniform(5, 300), 595)
            high = max(6, tall * rng.uniform(0.2, 1.0))
            wide = rng.uniform(8, 30) if high > 30 else rng.uniform(10, 60)
            x = (middle + spread * rng.normal()) * z
            listed.append((z, _tower(canvas, place, x, z, wide, high, rng.spawn(1)[0])))
    return listed


def _tower(
    canvas: Canvas, place: Setting, x: float, z: float, wide: float, high: float, rng: np.random.Generator
) -> object:
    def draw() -> None:
        wall = Paint(pick(rng, WALLS), place.climate.air + rng.uniform(0, 5), blotch=0.08, haze=0.6)
        top = [(-wide / 2, high), (wide / 2, high)]
        if rng.random() < 0.3:  # a smaller storey on top
            share = rng.uniform(0.3, 0.8) * wide / 2
            top = [(-wide / 2, high), (-share, high), (-share, 1.1 * high), (share, 1.1 * high), (share, high), top[1]]
        canvas.board(x, z, [(wide / 2, 0), (-wide / 2, 0), *top], wall)
        columns, rows = int(wide / rng.uniform(2.5, 5)), int(high / rng.uniform(3, 4.5))
        if columns < 1 or rows < 1 or canvas.size(3, z) < 1.5:
            return
        u = (np.arange(columns) + 0.5) / columns * wide - wide / 2
        v = (np.arange(rows) + 0.5) / rows * high
        uu, vv = (g.ravel()[:, None] for g in np.meshgrid(u, v))
        half, tall = 0.3 * wide / columns, 0.3 * high / rows
        panes = np.stack(
            [x + uu + half * np.array([-1, 1, 1, -1]), vv + tall * np.array([-1, -1, 1, 1]), 0 * uu + z + np.zeros(4)],
            -1,
        )
        lit = rng.random(len(panes)) < (0.3 if place.climate.lamps_on else 0)
        dark = wall.shade(rng.uniform(0.4, 0.75)).warm(rng.uniform(-2, 2))
        canvas.fill_all(panes[~lit], dark)
        canvas.fill_all(panes[lit], dark._replace(glow=(0.8, 0.65, 0.4)))

    return draw


def _trees(canvas: Canvas, place: Setting, near: float, bank: float, rng: np.random.Generator) -> list[tuple]:
    """Rows of trees along the far bank, single ones on the land between, and one at the side."""
    listed = []
    for _ in range(int(rng.integers(0, 6))):
        z = min(bank * rng.uniform(1.0, 1.2) + 1, 590)
        left = rng.uniform(-0.8, 0.6) * z
        box = (left, left + rng.uniform(0.1, 0.8) * z, 0.0, rng.uniform(4, 16))
        child = rng.spawn(1)[0]
        listed.append(
            (z, lambda box=box, z=z, child=child: foliage(canvas, box, z, "hedge", pick(child, GREENS), child))
        )
    first = (max(bank, 4.0), 500.0) if place.name == "shore" else (8.0, 400.0)
    places = [float(np.exp(rng.uniform(*np.log(first)))) for _ in range(int(rng.integers(0, 12)))]
    if rng.random() < 0.3:
        places.append(rng.uniform(max(near * 0.3, 3), max(near, 8)))
    for z in places:
        x, child = rng.uniform(-0.6, 0.6) * z, rng.spawn(1)[0]
        listed.append((z, lambda x=x, z=z, child=child: tree(canvas, x, z, child.uniform(5, 16), child)))
    return listed


def _small_things(canvas: Canvas, place: Setting, near: float, bank: float, rng: np.random.Generator) -> list[tuple]:
    """People, a railing before the water, boats."""
    listed = []
    low, high = place.kind.people
    reach = near if place.name == "shore" else 60.0
    for _ in range(int(rng.integers(low, high + 1))):
        z = rng.uniform(4, max(reach, 4.5))
        x, child = rng.uniform(-0.5, 0.5) * z, rng.spawn(1)[0]
        listed.append((z, lambda x=x, z=z, child=child: person(canvas, x, z, child)))
    if place.name != "shore":
        return listed
    if rng.random() < 0.4 and near > 3.5:
        paint = Paint(pick(rng, ((224, 224, 220), (92, 70, 52), (120, 124, 128))), place.climate.air + 0.6, grain=0.03)
        steps = np.linspace(-1.2 * near, 1.2 * near, 24)
        for a, b in zip(steps[:-1], steps[1:], strict=True):
            ends = (np.array([a, 0, near - 0.3]), np.array([b, 0, near - 0.3]))
            listed.append(
                (near - 0.3, lambda ends=ends: railing(canvas, *ends, 0.95, paint, ((0.45, 0.55), (0.9, 1.0))))
            )
    for _ in range(int(rng.integers(0, 4))):
        z, child = float(np.exp(rng.uniform(np.log(near + 8), np.log(max(bank, near + 9))))), rng.spawn(1)[0]
        listed.append((z, lambda z=z, child=child: _boat(canvas, place, z, child)))
    return listed


def _boat(canvas: Canvas, place: Setting, z: float, rng: np.random.Generator) -> None:
    x, length = rng.uniform(-0.5, 0.5) * z, min(rng.uniform(4, 40), 0.4 * z)
    tone = pick(rng, ((60, 60, 62), (180, 180, 176), (70, 90, 120), (120, 60, 50)))
    hull = Paint(tone, place.climate.air + rng.uniform(0, 6))
    high = length * rng.uniform(0.06, 0.12)
    canvas.board(x, z, [(-0.5 * length, high), (-0.42 * length, 0), (0.42 * length, 0), (0.5 * length, high)], hull)
    cabin = rng.uniform(-0.3, 0.1) * length
    box = [(cabin, high), (cabin + 0.25 * length, high), (cabin + 0.25 * length, 2.2 * high), (cabin, 2.2 * high)]
    canvas.board(x, z, box, hull.shade(1.3).warm(rng.uniform(0, 6)))
