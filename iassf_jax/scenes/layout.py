"""Where things stand: the ground and the road, the far distance, and all that is built, grows or moves beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from iassf_jax.scenes.buildings import house
from iassf_jax.scenes.canvas import FAR, NEAR, Canvas
from iassf_jax.scenes.materials import GREENS, WALLS, Paint, pick
from iassf_jax.scenes.open_land import lay_out_open_land
from iassf_jax.scenes.place import OPEN_KINDS, Setting
from iassf_jax.scenes.roadside import foliage, gantry, pole, railing, sign, street_lamp, traffic_light, tree
from iassf_jax.scenes.traffic import BUS, CAB, CARS, VANS, cyclist, person, vehicle

do = functools.partial
Thing = tuple[float, Callable[[], None]]  # farthest depth, and how to draw it


def lay_out(canvas: Canvas, place: Setting, rng: np.random.Generator) -> None:
    """Draw the ground, then everything on it from far to near."""
    if place.name in OPEN_KINDS:
        lay_out_open_land(canvas, place, rng)
        return
    _ground(canvas, place, rng)
    _distance(canvas, place, rng)
    listed: list[Thing] = []
    for part in (_buildings, _greenery, _furniture, _traffic, _people):
        listed += part(canvas, place, rng)
    for _, draw in sorted(listed, key=lambda thing: -thing[0]):
        draw()


def _strip(place: Setting, left: float, right: float, s0: float, s1: float) -> np.ndarray:
    """Ground polygon float[N, 3] between two lines along the road."""
    straight = place.across is not None or s1 - s0 < 8
    steps = np.linspace(s0, s1, 2) if straight else np.geomspace(s0, s1, max(4, int(5 * np.log(s1 / s0))))
    edge = [place.at(s, left) for s in steps] + [place.at(s, right) for s in steps[::-1]]
    return np.array([(x, 0.0, z) for x, z in edge])


def _ground(canvas: Canvas, place: Setting, rng: np.random.Generator) -> None:
    """The land, the road with wear and marks, the pavements with their kerbs."""
    air, sunny, lighting = place.climate.air, place.climate.sun is not None, place.climate.lighting
    rise = rng.uniform(0.3, 1.0) * {"day": (30 - air) * (0.45 if sunny else 0.2), "dusk": 4.0, "night": 2.5}[lighting]
    grass = Paint(
        pick(rng, ((82, 100, 48), (96, 104, 56), (112, 106, 66), (66, 88, 42))),
        air + 0.25 * rise - 0.8,
        grain=0.16,
        blotch=0.14,
        haze=0.5,
    )
    tone = rng.uniform(66, 118)
    tint = rng.normal(0, 3, 3)
    road = Paint(tuple(tone + t for t in tint), air + rise, grain=0.1, blotch=0.06, haze=0.35)
    slabs = Paint(
        pick(rng, ((136, 132, 126), (150, 140, 128), (140, 116, 102), (122, 122, 124))),
        air + 0.8 * rise,
        grain=0.07,
        blotch=0.08,
        brick=0.1 * (rng.random() < 0.6),
        haze=0.4,
    )
    canvas.on_ground = True
    land = slabs if place.name == "street" and rng.random() < 0.6 else grass
    canvas.fill(np.array([(-6.0, 0, NEAR), (6.0, 0, NEAR), (900.0, 0, FAR), (-900.0, 0, FAR)]), land)
    s0, s1 = place.span
    near_side = -1 if place.across is None or place.across > 9 else 0
    for side in (near_side, 1):
        edges = sorted((side * place.half, side * (place.half + place.pavement)))
        if side and place.pavement > 0.5:
            canvas.fill(_strip(place, *edges, s0, s1), slabs)
    canvas.fill(_strip(place, -place.half, place.half, s0, s1), road)
    for side in (-1, 1) if place.pavement > 0.5 else ():
        edges = sorted((side * place.half, side * (place.half + 0.22)))
        canvas.fill(_strip(place, *edges, s0, s1), slabs.shade(1.2).warm(-0.5))
    _wear(canvas, place, road, rng)
    _marks(canvas, place, road, rng)
    canvas.on_ground = False


def _wear(canvas: Canvas, place: Setting, road: Paint, rng: np.random.Generator) -> None:
    """Wheel tracks (warm, a little dark), patches, cracks and manholes."""
    s0, s1 = place.span
    width = 2 * place.half / place.lanes
    for lane in range(place.lanes if place.lanes > 1 else 0):
        middle = -place.half + (lane + 0.5) * width
        for t in (middle - 0.75, middle + 0.75):
            canvas.fill(_strip(place, t - 0.22, t + 0.22, s0, min(s1, 120)), road.shade(0.94).warm(0.5))
    base = 4.0 if place.across is None else -12.0
    for _ in range(int(rng.integers(2, 8))):
        s, t = base + rng.uniform(0, 28), rng.uniform(-0.8, 0.8) * place.half
        length, wide, tone = rng.uniform(0.4, 6), rng.uniform(0.3, 2.0), rng.uniform(0.72, 1.2)
        canvas.fill(_strip(place, t - wide / 2, t + wide / 2, s, s + length), road.shade(tone).warm(rng.normal(0, 0.3)))
    for _ in range(int(rng.integers(0, 5))):
        s, t = base + rng.uniform(1, 24), rng.uniform(-0.7, 0.7) * place.half
        path = np.array([place.at(s + 0.5 * i, t + d) for i, d in enumerate(np.cumsum(rng.normal(0, 0.2, 8)))])
        ring = np.concatenate([path, path[::-1] + (0.03, 0.02)])
        canvas.fill(np.stack([ring[:, 0], 0 * ring[:, 0], ring[:, 1]], -1), road.shade(0.6))
    for _ in range(int(rng.integers(0, 3))):
        x, z = place.at(base + rng.uniform(1, 20), rng.uniform(-0.6, 0.6) * place.half)
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.stack([x + 0.36 * np.cos(angle), 0 * angle, z + 0.36 * np.sin(angle)], -1)
        canvas.fill(ring, road.shade(0.62).warm(rng.uniform(1, 4)))  # warm air from below


def _marks(canvas: Canvas, place: Setting, road: Paint, rng: np.random.Generator) -> None:
    """Lane lines, edge lines and a crossing: paint that infrared hardly sees."""
    white = road._replace(rgb=(214, 214, 208), heat=road.heat - 0.4, blotch=0.12)
    middle = white._replace(rgb=(214, 172, 60)) if rng.random() < 0.3 else white
    if place.name == "park":
        return
    s0, s1 = place.span
    width = 2 * place.half / place.lanes
    period = pick(rng, (6.0, 9.0, 12.0))
    for lane in range(1, place.lanes):
        t, solid = -place.half + lane * width, rng.random() < 0.25
        paint = middle if 2 * lane == place.lanes else white
        pieces = [(s0, s1)] if solid else [(s, s + 0.45 * period) for s in np.arange(max(s0, -40) + 0.2, 110, period)]
        canvas.fill_all([_strip(place, t - 0.075, t + 0.075, a, b) for a, b in pieces], paint)
    if rng.random() < 0.75:
        for side in (-1, 1):
            t = side * (place.half - 0.35)
            canvas.fill(_strip(place, t - 0.07, t + 0.07, s0, s1), white)
    if place.name in ("street", "suburb") and rng.random() < 0.4:
        s = rng.uniform(5, 25) if place.across is None else rng.uniform(-8, 4)
        bars = np.arange(-place.half + 0.4, place.half - 0.6, 0.95)
        canvas.fill_all([_strip(place, t, t + 0.5, s, s + 3.2) for t in bars], white)
        if place.across is None:
            canvas.fill(_strip(place, -place.half + 0.3, 0, s - 2.2, s - 1.8), white)


def _distance(canvas: Canvas, place: Setting, rng: np.random.Generator) -> None:
    """Hills, a skyline and rows of trees far away, as boards that face the camera."""
    air = place.climate.air
    if rng.random() < 0.5:
        x = np.linspace(-600, 600, 40)
        waves = ((16, 150), (9, 60), (4, 22))
        top = np.maximum(rng.uniform(8, 55) + sum(a * np.sin(x / w + rng.uniform(0, 6)) for a, w in waves), 3)
        outline = [(-600, 0), *zip(x, top, strict=True), (600, 0)]
        colour = pick(rng, ((84, 104, 112), (72, 92, 72), (96, 110, 100)))
        canvas.board(0, 560, outline, Paint(colour, air - 2, blotch=0.1))
    if place.name in ("street", "highway", "park") or rng.random() < 0.3:
        for _ in range(int(rng.integers(4, 16))):
            x, wide, high, z = rng.uniform(-300, 300), rng.uniform(14, 45), rng.uniform(12, 70), rng.uniform(380, 520)
            wall = Paint(pick(rng, WALLS), air + rng.uniform(0, 2), blotch=0.1)
            canvas.board(x, z, [(-wide / 2, 0), (wide / 2, 0), (wide / 2, high), (-wide / 2, high)], wall)
            glow = (0.8, 0.65, 0.4) if place.climate.lamps_on else (0.0, 0.0, 0.0)
            left, low = ((rng.random((14, 2)) - (0.5, 0)) * (wide - 4, high - 4)).T[..., None]
            panes = np.stack([x + left + (0, 3, 3, 0), low + (0, 0, 2, 2), np.full((14, 4), z)], -1)
            canvas.fill_all(panes, wall.shade(0.5)._replace(glow=glow))
    for z in (340.0, 260.0, 190.0)[: int(rng.integers(1, 4))]:
        if rng.random() < 0.75:
            left = rng.uniform(-260, 60)
            box = (left, left + rng.uniform(60, 300), 0.0, rng.uniform(6, 15))
            foliage(canvas, box, z, "hedge", pick(rng, GREENS), rng)


def _buildings(canvas: Canvas, place: Setting, rng: np.random.Generator) -> list[Thing]:
    """Rows of buildings beside the road; in the country a lone farm at most."""
    kind, listed = place.kind, []
    span, sides = ((2.0, 150.0), (-1, 1)) if place.across is None else ((-55.0, 55.0), (1,))
    fill = {"street": 0.9, "suburb": 0.75, "park": 0.3}.get(place.name, 0.12)
    low, high = kind.storeys or (4, 8)
    for side in sides:
        s = span[0] - rng.uniform(0, 8)
        while s < span[1]:
            length, depth = rng.uniform(8, 24) if high > 10 else rng.uniform(8, 13), rng.uniform(9, 16)
            height = low + (high - low) * rng.random() ** 1.8
            t = place.half + place.pavement + rng.uniform(*kind.setback)
            child = rng.spawn(1)[0]
            if rng.random() < fill:
                listed.append(_building(canvas, place, side, (s, s + length), (t, t + depth), height, child))
            s += length + (rng.uniform(0, 3) if place.name == "street" else rng.uniform(3, 14))
    return listed


def _building(
    canvas: Canvas, place: Setting, side: int, along: tuple, away: tuple, height: float, rng: np.random.Generator
) -> Thing:
    """One building between two distances along the road and two away from it."""
    gable = height < 9 and rng.random() < 0.8
    if place.across is not None:
        x0, x1, z0, z1 = *along, place.across + away[0], place.across + away[1]
    else:
        x = side * max(side * place.at(max(s, NEAR), 0)[0] for s in along)  # clear of the road at both ends
        (x0, x1), (z0, z1) = sorted((x + side * away[0], x + side * away[1])), along
    if x0 <= 0 <= x1 and z0 < 8:  # never around the camera
        return z1, lambda: None
    return z1, do(house, canvas, x0, x1, z0, z1, height, rng, gable)


def _greenery(canvas: Canvas, place: Setting, rng: np.random.Generator) -> list[Thing]:
    """Trees and hedges between the road and the buildings, and in the open."""
    listed = []
    open_land = place.kind.storeys is None
    edge = place.half + place.pavement
    span, sides = ((5.0, 130.0), (-1, 1)) if place.across is None else ((-35.0, 35.0), (1,))
    step = rng.uniform(6, 12)
    tall = rng.uniform(4.5, 8) if place.name == "street" else rng.uniform(6, 14)
    for side in sides:
        hedge = rng.random() < 0.3 and place.name != "street"
        for s in np.arange(span[0] + rng.uniform(0, step), span[1], step):
            child = rng.spawn(1)[0]
            chance, far = child.random(2)
            out = edge + (far * 30 + 2 if open_land else -0.9 if place.name == "street" else 0.6 + far * 2.5)
            x, z = place.at(s + child.normal(0, 0.8), side * max(out, place.half + 0.7))
            if z > 4 and chance < place.kind.trees * (1 if s < 70 or open_land else 0.5):
                listed.append((z, do(tree, canvas, x, z, tall * child.uniform(0.75, 1.3), child)))
            if hedge and z > 3:
                x, z = place.at(s, side * (edge + 0.8))
                wide = 0.6 if place.across is None else 0.6 + step / 2
                box = (x - wide, x + wide, 0.0, child.uniform(0.8, 1.6))
                listed.append((z + 0.3, do(foliage, canvas, box, z, "hedge", pick(child, GREENS), child)))
    return listed


def _furniture(canvas: Canvas, place: Setting, rng: np.random.Generator) -> list[Thing]:
    """Lamps, signs, signals, wires, gantries, fences and guard rails."""
    listed, side, edge = [], pick(rng, (-1, 1)), place.half + 0.5
    if place.kind.lamps and (place.climate.lamps_on or rng.random() < 0.7):
        listed += _lamps(canvas, place, side, rng)
    elif place.across is None and rng.random() < 0.7:
        listed += _wires(canvas, place, side, rng)
    for _ in range(int(rng.integers(0, 4)) if place.name != "park" else int(rng.integers(0, 2))):
        s = rng.uniform(7, 45) if place.across is None else rng.uniform(-12, 12)
        x, z = place.at(s, pick(rng, (-1, 1)) * edge if place.across is None else edge)
        build = traffic_light if rng.random() < 0.25 else sign
        listed.append((z, do(build, canvas, x, z, rng.spawn(1)[0])))
    if place.name == "highway" and rng.random() < 0.5:
        (x0, z), (x1, _) = place.at(35.0 + 40 * rng.random(), -edge - 0.5), place.at(50.0, edge + 0.5)
        listed.append((z + 0.4, do(gantry, canvas, x0, x1, z, rng.spawn(1)[0])))
    for side in (-1, 1) if place.across is None else (1,):
        if rng.random() < place.kind.rails:
            listed += _rail(canvas, place, side, rng)
    return listed


def _lamps(canvas: Canvas, place: Setting, side: int, rng: np.random.Generator) -> list[Thing]:
    """A row of street lamps; on a motorway on both sides in turn."""
    listed, edge = [], place.half + 0.5
    tint = pick(rng, ((1.0, 0.72, 0.38), (0.9, 1.0, 0.95), (0.75, 1.0, 0.7), (1.0, 0.9, 0.7)))
    high, reach, gap = rng.uniform(4.5, 9), rng.uniform(0.8, 2.4), rng.uniform(16, 34)
    first = rng.uniform(5, 20) if place.across is None else rng.uniform(-14, 4)
    for i in range(5):
        along = side * (-1) ** i if place.name == "highway" else side
        x, z = place.at(first + i * gap, along * edge if place.across is None else edge)
        listed.append((z, do(street_lamp, canvas, x, z, high, -along * reach, tint)))
    return listed


def _wires(canvas: Canvas, place: Setting, side: int, rng: np.random.Generator) -> list[Thing]:
    """Wooden poles that carry wires."""
    wood = Paint((104, 88, 70), place.climate.air + 1, grain=0.1)
    gap, first = rng.uniform(22, 40), rng.uniform(4, 16)
    feet = [place.at(first + i * gap, side * (place.half + 1.6)) for i in range(5)]

    def draw(i: int) -> None:
        (x, z), (x2, z2) = feet[i], feet[min(i + 1, 4)]
        t = np.linspace(0, 1, 7) ** 1.5  # short pieces near the camera: a line has one depth
        for end in (-0.8, 0.0, 0.8):
            sag = np.stack([x + end + t * (x2 - x), 7.2 - 3.2 * t * (1 - t), z + t * (z2 - z)], -1)
            for k in range(6 if z2 > z else 0):
                canvas.line(sag[k : k + 2], 0.02, wood._replace(rgb=(30, 30, 32)))
        canvas.line(np.array([(x - 0.9, 7.2, z), (x + 0.9, 7.2, z)]), 0.12, wood)
        pole(canvas, x, z, 7.6, 0.13, wood)

    return [(feet[i][1], do(draw, i)) for i in range(5)]


def _rail(canvas: Canvas, place: Setting, side: int, rng: np.random.Generator) -> list[Thing]:
    """A fence or guard rail in short pieces, so that things between its ends sort rightly."""
    plain = place.name in ("highway", "country")
    colour = (176, 180, 182) if plain else pick(rng, ((224, 224, 220), (92, 70, 52), (60, 90, 70)))
    paint = Paint(colour, place.climate.air + 0.6, grain=0.03)
    rails = ((0.55, 1.0),) if plain else ((0.45, 0.55), (0.9, 1.0))
    steps = np.geomspace(3, 90, 26) if place.across is None else np.arange(-40.0, 40, 2.5)
    ground = [place.at(s, side * (place.half + (0.4 if place.pavement < 0.5 else 0.3))) for s in steps]
    points = np.array([(x, 0, z) for x, z in ground])
    return [
        (float(max(a[2], b[2])), do(railing, canvas, a, b, 0.85, paint, rails))
        for a, b in zip(points[:-1], points[1:], strict=True)
    ]


def _traffic(canvas: Canvas, place: Setting, rng: np.random.Generator) -> list[Thing]:
    """Vehicles in the lanes and at the kerb, none through another."""
    listed, taken = [], []
    ahead = place.across is None
    right_hand = bool(rng.random() < 0.5)
    for _ in range(int(rng.integers(place.kind.vehicles[0], place.kind.vehicles[1] + 1))):
        child = rng.spawn(1)[0]
        parked = place.name != "highway" and child.random() < 0.45
        heavy = child.random() < (0.35 if place.name == "highway" else 0.14)
        shape = pick(child, (BUS, CAB)) if heavy else pick(child, CARS + CARS + VANS)
        lane = int(child.integers(place.lanes))
        t = -place.half + (lane + 0.5) * 2 * place.half / place.lanes
        if parked:
            t = pick(child, (-1, 1)) * (place.half - 0.2 - shape.width / 2)
        s = 6 + 70 * child.random() ** 1.6 + shape.length / 2 if ahead else child.uniform(-16, 16)
        gap = shape.length / 2 + 1.2
        if any(abs(s - s2) < gap + g2 and abs(t - t2) < 2.4 for s2, t2, g2 in taken):
            continue
        taken.append((s, t, gap))
        x, z = place.at(s, t)
        canvas.taken.append((x, z, gap))
        ahead_x, ahead_z = place.at(s + 1, t)
        yaw = float(np.arctan2(ahead_x - x, ahead_z - z)) + child.normal(0, 0.02)
        if (t < 0) == right_hand:
            yaw += np.pi
        running = not parked or child.random() < 0.2
        listed.append((z + 0.4 * shape.length * ahead, do(vehicle, canvas, x, z, yaw, shape, running, child)))
    return listed


def _people(canvas: Canvas, place: Setting, rng: np.random.Generator) -> list[Thing]:
    """People on the pavements, some on the road, alone or in twos; the odd cyclist."""
    listed = []
    low, high = place.kind.people
    ahead, edge = place.across is None, place.half + max(place.pavement, 1.0)
    for _ in range(int(rng.integers(low, high + 1))):
        s = 5.5 + 45 * rng.random() ** 1.7 if ahead else rng.uniform(-11, 11)
        side = pick(rng, (-1, 1)) if ahead else 1
        on_road = rng.random() < (0.22 if place.name != "park" else 0.7)
        t = rng.uniform(-0.85, 0.85) * place.half if on_road else side * rng.uniform(place.half + 0.35, edge)
        for i in range(2 if rng.random() < 0.25 else 1):
            x, z = place.at(s + 0.2 * i, t + 0.65 * i)
            build = cyclist if rng.random() < 0.1 else person
            if z > 3 and all(np.hypot(x - x2, z - z2) > gap for x2, z2, gap in canvas.taken):
                listed.append((z, do(build, canvas, x, z, rng.spawn(1)[0])))
    return listed
