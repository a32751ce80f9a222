"""Buildings: each draws the walls and roof that the camera sees, its windows and shops, and casts its shadow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from iassf_jax.scenes.canvas import NEAR, Canvas, inset_quads
from iassf_jax.scenes.materials import BODIES, RGB, WALLS, Paint, pick


def house(
    canvas: Canvas,
    x0: float,
    x1: float,
    z0: float,
    z1: float,
    height: float,
    rng: np.random.Generator,
    gable: bool = False,
) -> None:
    """A building on the footprint x0..x1, z0..z1: the walls that the camera sees, windows, shop or roof."""
    z0 = max(z0, NEAR + 0.05)
    if z1 <= z0 + 0.5:
        return
    air, sunny = canvas.climate.air, canvas.climate.sun is not None
    wall = Paint(
        pick(rng, WALLS),
        air + rng.uniform(0.5, 3.0) + 1.5 * sunny,
        blotch=rng.uniform(0.05, 0.12),
        brick=0.12 if rng.random() < 0.45 else 0.0,
        haze=rng.uniform(0.4, 0.9),
    )
    style = _FacadeStyle.draw(rng)
    canvas.cast([(x, y, z) for x in (x0, x1) for y in (0, height) for z in (z0, z1)])
    if not canvas.in_view(x0, x1, z0, z1):
        return
    side = x0 if x0 > 0 else x1
    walls = [np.array([(x0, 0, z0), (x1, 0, z0), (x1, height, z0), (x0, height, z0)], float)]
    if x0 > 0 or x1 < 0:
        near, far = (z1, z0) if x0 > 0 else (z0, z1)  # left end first, as seen from the road
        walls.insert(0, np.array([(side, 0, near), (side, 0, far), (side, height, far), (side, height, near)], float))
    if gable or height < canvas.camera.height:
        _roof(canvas, x0, x1, z0, z1, height, gable, rng)
    for quad in walls:
        _facade(canvas, quad, wall, style, rng)


class _FacadeStyle(NamedTuple):
    """Sizes of a building's windows: metres, and shares of the pitch."""

    pitch: float
    storey: float
    wide: float
    tall: float
    shop: bool
    bands: bool
    lit: float  # share of windows with light behind them, when lamps are on
    glass: RGB

    @staticmethod
    def draw(rng: np.random.Generator) -> _FacadeStyle:
        return _FacadeStyle(
            rng.uniform(1.8, 4.2),
            rng.uniform(2.8, 3.8),
            rng.uniform(0.4, 0.9),
            rng.uniform(0.4, 0.75),
            bool(rng.random() < 0.5),
            bool(rng.random() < 0.4),
            rng.uniform(0.02, 0.4),
            pick(rng, ((50, 62, 76), (36, 42, 48), (84, 104, 124), (64, 70, 72))),
        )


def _facade(canvas: Canvas, quad: np.ndarray, wall: Paint, style: _FacadeStyle, rng: np.random.Generator) -> None:
    """One wall (bottom left corner first) with its windows, ground floor, ledges, and warm leaks."""
    canvas.fill(quad, wall)
    bl, br, _, tl = quad
    span = canvas.camera.project(quad[:2])[:, 0]
    if abs(span[1] - span[0]) < 3 or span.max() < 0 or span.min() > canvas.shape[1]:
        return
    length, height = float(np.linalg.norm(br - bl)), float(tl[1])
    ground = 3.8 if style.shop and height > 6 else 0.8
    count, floors = min(int(length / style.pitch), 40), min(int((height - ground - 0.4) / style.storey), 16)
    shop_paint = wall._replace(rgb=pick(rng, BODIES), brick=0.0, blotch=0.04)
    leaks, lit_seed = rng.random((4, 4)), rng.random((floors if floors > 0 else 1, max(count, 1)))
    detailed = canvas.size(1, float(quad[:, 2].min())) > 7
    if detailed and style.bands:
        tops = [(ground + (i + 0.98) * style.storey) / height for i in range(floors)]
        canvas.fill_all(inset_quads(quad, [(0, v - 0.16 / height, 1, v) for v in tops]), wall.shade(0.78))
    if detailed:
        canvas.fill_all(inset_quads(quad, [(0, 1 - 0.35 / height, 1, 1)]), wall.shade(1.15).warm(-0.8))  # cornice
        spots = [(u, v * 0.7, u + 0.5 / length, v * 0.7 + t / height) for u, v, t in leaks[:, :3] * (0.9, 0.9, 3)]
        canvas.fill_all(inset_quads(quad, spots), wall.warm(1 + 3 * leaks[0, 3]))  # warm pipes and leaks: infrared only
    if detailed and ground > 3:
        _shop(canvas, quad, length, height, shop_paint, rng)
    if count < 1 or floors < 1:
        return
    u = (np.arange(count) + 0.5 - style.wide / 2) / count
    v = (ground + (np.arange(floors) + 0.5 - style.tall / 2) * style.storey) / height
    uu, vv = (g.ravel()[:, None] for g in np.meshgrid(u, v))
    uu = uu + np.array([0, 1, 1, 0]) * style.wide / count
    vv = vv + np.array([0, 0, 1, 1]) * style.tall * style.storey / height
    panes = bl + uu[..., None] * (br - bl) + vv[..., None] * (tl - bl)
    lamps = canvas.climate.lamps_on
    cold = wall._replace(rgb=style.glass, heat=wall.heat + (1.2 if lamps else -2.0), grain=0.01, blotch=0.25, brick=0.0)
    dim = lit_seed.ravel() < 0.25
    canvas.fill_all(panes[dim], cold.shade(0.7).warm(0.5))
    canvas.fill_all(panes[~dim], cold)
    if lamps:
        bright = lit_seed.ravel() > 1 - style.lit
        for part, tone in ((0, (1.0, 0.8, 0.5)), (1, (0.8, 0.95, 0.9)), (2, (0.4, 0.3, 0.16))):
            chosen = bright & (np.arange(len(panes)) * 7 // 3 % 3 == part)
            canvas.fill_all(panes[chosen], cold._replace(glow=tone, heat=wall.heat + 2.2))


def _shop(
    canvas: Canvas, quad: np.ndarray, length: float, height: float, paint: Paint, rng: np.random.Generator
) -> None:
    """A ground floor of shop windows, doors and coloured boards, on the lowest 3.6 m of a wall."""
    n = max(1, min(int(length / 5), 10))
    lamps, inside = canvas.climate.lamps_on, Paint((70, 66, 60), paint.heat + 1.5, grain=0.02, blotch=0.5)
    lit, poster = rng.random((2, n))
    tone = rng.uniform(0.15, 0.7)

    def row(chosen: np.ndarray, u0: float, v0: float, u1: float, v1: float) -> np.ndarray:
        return inset_quads(
            quad, [((i + u0) / n, v0 / height, (i + u1) / n, v1 / height) for i in range(n) if chosen[i]]
        )

    canvas.fill_all(inset_quads(quad, [(0, 2.9 / height, 1, 3.6 / height)]), paint)
    glow = inside._replace(glow=(tone, 0.9 * tone, 0.7 * tone)) if lamps else inside
    canvas.fill_all(row(lit > 0.45, 0.06, 0.5, 0.66, 2.7), inside)
    canvas.fill_all(row(lit <= 0.45, 0.06, 0.5, 0.66, 2.7), glow)
    canvas.fill_all(row(lit >= 0, 0.74, 0.02, 0.94, 2.5), paint.shade(0.6))
    canvas.fill_all(row(poster < 0.5, 0.1, 2.95, 0.9, 3.5), paint._replace(rgb=pick(rng, BODIES)))  # paint only


def _roof(
    canvas: Canvas, x0: float, x1: float, z0: float, z1: float, height: float, gable: bool, rng: np.random.Generator
) -> None:
    """A flat roof seen from above, or a pitched one with its ridge along the road."""
    tile = Paint(
        pick(rng, ((120, 70, 54), (84, 84, 90), (70, 58, 52), (100, 104, 108))),
        canvas.climate.air + (4 if canvas.climate.sun else -2),
        grain=0.08,
        blotch=0.1,
        haze=0.8,
    )
    if not gable:
        canvas.fill(np.array([(x0, height, z0), (x1, height, z0), (x1, height, z1), (x0, height, z1)]), tile)
        return
    xm, top = (x0 + x1) / 2, height + 0.32 * (x1 - x0)
    for edge in (x0, x1) if abs(x0) > abs(x1) else (x1, x0):  # the nearer slope last
        out = edge + 0.06 * (edge - xm)
        canvas.fill(np.array([(out, height, z0), (xm, top, z0), (xm, top, z1), (out, height, z1)]), tile)
    canvas.fill(np.array([(x0, height, z0), (x1, height, z0), (xm, top, z0)]), tile._replace(rgb=pick(rng, WALLS)))
