"""Vehicles, cyclists and people: each draws itself on the canvas at (x, z) metres and casts its shadow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from iassf_jax.scenes.canvas import Canvas, inset_quads
from iassf_jax.scenes.materials import BODIES, COATS, GLASS, HEADLIGHT, RGB, TROUSERS, Paint, pick

Outline = list[tuple[float, float]]
Insets = list[tuple]  # each (paint, part, ...), parts as for `inset_quads`
Placer = Callable[[Sequence[Sequence[float]]], np.ndarray]  # points of a vehicle, relative to it -> in the world


def person(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A standing or walking person; skin is hotter than clothes, clothes hotter than the air."""
    air = canvas.climate.air
    h = rng.uniform(1.05, 1.4) if rng.random() < 0.1 else rng.normal(1.7, 0.08)
    stride, girth, swing = rng.uniform(-0.2, 0.2), rng.uniform(0.9, 1.25), rng.uniform(-0.06, 0.06)
    warmth = air + (34 - air) * rng.uniform(0.62, 0.85, 3)

    def part(rgb: RGB, heat: float) -> Paint:
        return Paint(rgb, float(heat), grain=0.05, blotch=0.1, haze=0.9, person=True)

    skin = part(pick(rng, ((214, 168, 140), (190, 140, 110), (140, 96, 70), (224, 184, 160))), 34)
    coat, legs = part(pick(rng, COATS), warmth[0]), part(pick(rng, TROUSERS), warmth[1])
    carries, bag = int(rng.integers(-2, 3)), Paint(pick(rng, COATS), air + 2)
    shoes, hair = part((26, 24, 24), air + 0.45 * (34 - air)), part((30, 24, 20), warmth[2])

    def draw(outline: Outline, paint: Paint) -> None:
        canvas.board(x, z, [(u * h, v * h) for u, v in outline], paint)

    for foot, hip in ((-stride, -0.04), (stride, 0.04)):
        for outline, paint in zip(_leg_and_shoe(foot, hip), (legs, shoes), strict=True):
            draw(outline, paint)
    hem = 0.3 if rng.random() < 0.25 else 0.46  # a long coat, or a jacket
    wide = 0.075 * girth
    draw(
        [
            (-wide - 0.01, hem),
            (wide + 0.01, hem),
            (wide, 0.62),
            (0.125 * girth, 0.79),
            (0.05, 0.84),
            (-0.05, 0.84),
            (-0.125 * girth, 0.79),
            (-wide, 0.62),
        ],
        coat,
    )
    for side, move in ((-1, swing), (1, -swing)):
        s, e, hand = side * 0.115 * girth, side * 0.14 * girth + 0.6 * move, side * 0.14 * girth + move
        draw(_sleeve(s, e, hand), coat.shade(0.88))
        canvas.disc(x + hand * h, 0.44 * h, z, 0.024 * h, 0.03 * h, skin)
        if carries == side:  # a bag, as cold as the air
            draw([(hand - 0.07, 0.24), (hand + 0.07, 0.24), (hand + 0.05, 0.42), (hand - 0.05, 0.42)], bag)
    draw([(-0.025, 0.82), (0.025, 0.82), (0.025, 0.89), (-0.025, 0.89)], skin)
    canvas.disc(x, 0.94 * h, z, 0.05 * h, 0.062 * h, hair)
    if rng.random() < 0.6:  # faces the camera
        canvas.disc(x, 0.925 * h, z, 0.042 * h, 0.05 * h, skin)
    canvas.cast([(x - 0.15, h, z), (x + 0.15, h, z), (x - 0.2, 0, z), (x + 0.2, 0, z)])


def _leg_and_shoe(foot: float, hip: float) -> tuple[Outline, Outline]:
    """Outlines of one leg, in shares of a person's height; foot and hip lie so far to the right of the middle."""
    knee = 0.5 * (foot + hip) + 0.02
    leg = [(hip - 0.05, 0.5), (hip + 0.05, 0.5), (knee + 0.042, 0.27)]
    leg += [(foot + 0.032, 0.03), (foot - 0.032, 0.03), (knee - 0.042, 0.27)]
    return leg, [(foot - 0.03, 0.0), (foot + 0.06, 0.0), (foot + 0.03, 0.04), (foot - 0.03, 0.05)]


def _sleeve(shoulder: float, elbow: float, hand: float) -> Outline:
    """The outline of one arm, as `_leg_and_shoe`."""
    down = [(shoulder + 0.03, 0.79), (elbow + 0.026, 0.6), (hand + 0.02, 0.46)]
    return [(shoulder - 0.03, 0.79), *down, (hand - 0.02, 0.46), (elbow - 0.026, 0.6)]


def cyclist(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A person on a bicycle, seen from the side."""
    air, angle = canvas.climate.air, np.linspace(0, 2 * np.pi, 20)
    metal, tyre = Paint(pick(rng, BODIES), air + 1), Paint((24, 24, 24), air + 3)
    for hub in (-0.52, 0.52):
        ring = np.stack([x + hub + 0.33 * np.cos(angle), 0.34 + 0.33 * np.sin(angle), np.full(20, z)], -1)
        canvas.line(ring, 0.045, tyre)
    frame = np.array([(-0.52, 0.34), (-0.1, 0.3), (-0.2, 0.85), (0.4, 0.85), (-0.1, 0.3), (0.4, 0.85), (0.52, 0.34)])
    canvas.line(np.stack([x + frame[:, 0], frame[:, 1], np.full(7, z)], -1), 0.04, metal)
    warmth = air + (34 - air) * rng.uniform(0.65, 0.85, 2)
    coat = Paint(pick(rng, COATS), float(warmth[0]), haze=0.9, blotch=0.1, person=True)
    legs = Paint(pick(rng, TROUSERS), float(warmth[1]), haze=0.9, person=True)
    canvas.board(x, z, [(-0.25, 0.9), (-0.08, 0.95), (0.22, 0.62), (0.02, 0.32), (-0.08, 0.36), (0.06, 0.62)], legs)
    canvas.board(x, z, [(-0.3, 0.85), (-0.06, 0.88), (0.2, 1.42), (0.08, 1.52), (-0.16, 1.4)], coat)
    canvas.board(x, z, [(0.08, 1.4), (0.18, 1.42), (0.46, 1.02), (0.4, 0.98)], coat.shade(0.85))
    canvas.disc(x + 0.2, 1.62, z, 0.1, 0.13, Paint((200, 156, 130), 34, person=True))
    canvas.board(x, z, [(0.08, 1.64), (0.3, 1.68), (0.24, 1.78), (0.12, 1.76)], Paint(pick(rng, BODIES), air + 4))
    canvas.cast([(x - 0.8, 0, z), (x + 0.8, 0, z), (x - 0.2, 1.7, z), (x + 0.3, 1.7, z)])


class Shape(NamedTuple):
    """A vehicle body in metres: heights, and the cabin's four corners along the length as shares from the rear."""

    length: float
    width: float
    boot: float  # height of the rear deck
    bonnet: float
    roof: float
    cabin: tuple[float, float, float, float]  # foot and top of the rear window, top and foot of the windscreen
    wheel: float  # radius


CARS = (
    Shape(4.4, 1.78, 0.98, 0.92, 1.45, (0.12, 0.25, 0.55, 0.74), 0.32),
    Shape(3.9, 1.7, 0.95, 0.95, 1.5, (0.0, 0.08, 0.58, 0.78), 0.31),
    Shape(4.6, 1.85, 1.08, 1.06, 1.7, (0.0, 0.06, 0.56, 0.75), 0.36),
)
VANS = (
    Shape(4.9, 1.8, 1.1, 1.05, 2.0, (0.0, 0.02, 0.76, 0.93), 0.34),
    Shape(3.4, 1.48, 1.0, 1.0, 1.88, (0.0, 0.02, 0.78, 0.95), 0.28),
)
BUS = Shape(10.5, 2.5, 1.2, 1.15, 3.1, (0.0, 0.005, 0.98, 1.0), 0.48)
CAB = Shape(7.5, 2.3, 1.0, 1.15, 2.5, (0.72, 0.725, 0.97, 1.0), 0.45)


def vehicle(
    canvas: Canvas, x: float, z: float, yaw: float, shape: Shape, running: bool, rng: np.random.Generator
) -> None:
    """A vehicle on its wheels, nose towards `yaw` (0: away from the camera); hot where it runs, when it runs."""
    air, sunny = canvas.climate.air, canvas.climate.sun is not None
    body = Paint(pick(rng, BODIES), air + rng.uniform(-0.5, 1.0) + 2.5 * sunny, grain=0.01, blotch=0.03, haze=0.35)
    if shape.roof > 2.2:
        body = body._replace(rgb=pick(rng, BODIES + ((200, 60, 40), (60, 120, 170), (90, 150, 90))))
    heat = rng.uniform(6, 14) if running else rng.uniform(0, 2)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])

    def place(points: Sequence[Sequence[float]]) -> np.ndarray:
        return np.asarray(points, float) @ turn.T + (x, 0.0, z)

    length, half = shape.length, shape.width / 2
    ends = place([(s * half, h, t * length / 2) for s in (-1, 1) for t in (-1, 1) for h in (0.1, shape.roof)])
    canvas.cast(ends)
    canvas.fill(
        place(
            [(-half, 0.32, -length / 2), (half, 0.32, -length / 2), (half, 0.32, length / 2), (-half, 0.32, length / 2)]
        ),
        Paint((14, 14, 15), air + 0.5 * heat, grain=0, blotch=0),
    )
    faces = _vehicle_faces(shape, body, heat, running and canvas.climate.lamps_on, air)
    if shape is CAB:
        faces += _cargo_faces(shape, body, rng)
    centre, eye = place([(0, shape.roof * 0.4, 0)])[0], np.array([0, canvas.camera.height, 0])
    seen = []
    for corners, paint, insets in faces:
        quad = place(corners)
        normal = np.cross(quad[1] - quad[0], quad[-1] - quad[0])
        middle = quad.sum(0) / len(quad)
        if (normal @ (middle - centre) > 0) == (normal @ (middle - eye) < 0):
            seen.append((-middle[2], quad, paint, insets))
    for _, quad, paint, insets in sorted(seen, key=lambda face: face[0]):
        canvas.fill(quad, paint)
        if canvas.size(shape.roof, z) > 8:
            for quads, inset in ((inset_quads(quad, parts), inset) for inset, *parts in insets):
                canvas.fill_all(quads, inset)
    _wheels(canvas, place, shape, heat)
    if running and canvas.climate.lamps_on:
        nose = place([(0, 0.7, length / 2 + 1.5)])[0]
        if nose[2] > 1:
            canvas.lights.append((nose, HEADLIGHT, 2.2))


def _vehicle_faces(shape: Shape, body: Paint, heat: float, lit: bool, air: float) -> list:
    """The faces of a body, each (corners bottom left first, paint, insets); x right, y up, z towards the nose."""
    length, w = shape.length, shape.width / 2
    r, f, low = -length / 2, length / 2, 0.3
    t = 0.93 * w if shape.roof > 1.8 else 0.82 * w  # half width of the roof
    z0, z1, z2, z3 = (r + c * length for c in shape.cabin)
    tall = shape.roof > 2.2
    glass, panes, rear, nose = _fittings(tall, heat, lit, air)
    warm = body.warm(0.7 * heat)
    faces = [
        ([(-w, low, r), (w, low, r), (w, shape.boot, r), (-w, shape.boot, r)], body, rear),
        ([(w, low, f), (-w, low, f), (-w, shape.bonnet, f), (w, shape.bonnet, f)], warm, nose),
        ([(-w, shape.boot, r), (w, shape.boot, r), (w, shape.boot, z0), (-w, shape.boot, z0)], body, []),
        ([(-w, shape.bonnet, z3), (w, shape.bonnet, z3), (w, shape.bonnet, f), (-w, shape.bonnet, f)], warm, []),
        (
            [(-w, shape.boot, z0), (w, shape.boot, z0), (t, shape.roof, z1), (-t, shape.roof, z1)],
            body,
            [(glass, (0.08, 0.15, 0.92, 0.88))],
        ),
        (
            [(w, shape.bonnet, z3), (-w, shape.bonnet, z3), (-t, shape.roof, z2), (t, shape.roof, z2)],
            body,
            [(glass, (0.04, 0.3 if tall else 0.06, 0.96, 0.92))],
        ),
        ([(-t, shape.roof, z1), (t, shape.roof, z1), (t, shape.roof, z2), (-t, shape.roof, z2)], body.warm(-1), []),
    ]
    for s in (-1, 1):
        faces.append(
            (
                [
                    (s * w, low, r),
                    (s * w, low, f),
                    (s * w, shape.bonnet, f),
                    (s * w, shape.bonnet, z3),
                    (s * w, shape.boot, z0),
                    (s * w, shape.boot, r),
                ],
                body,
                [],
            )
        )
        faces.append(
            (
                [(s * w, shape.boot, z0), (s * w, shape.bonnet, z3), (s * t, shape.roof, z2), (s * t, shape.roof, z1)],
                body,
                panes,
            )
        )
    return faces


def _fittings(tall: bool, heat: float, lit: bool, air: float) -> tuple[Paint, Insets, Insets, Insets]:
    """Of a body: the paint of its glass, and the insets of its side windows, its rear and its nose."""
    glass = Paint(GLASS, air - 1.5, grain=0, blotch=0.12, haze=0.3)
    trim = Paint((24, 24, 26), air + 0.6 * heat, grain=0.02)
    white, red = ((3.5, 3.4, 3.1), (1.8, 0.05, 0.03)) if lit else ((0.0,) * 3, (0.0,) * 3)
    front_lamp, tail_lamp = Paint((225, 225, 220), air + 0.7 * heat, white), Paint((150, 20, 18), air + 2, red)
    plate, exhaust = Paint((225, 225, 215), air), Paint((20, 20, 20), air + 2.2 * heat)
    rear = [
        (trim, (0, 0, 1, 0.24)),
        (tail_lamp, (0.03, 0.5, 0.17, 0.85), (0.83, 0.5, 0.97, 0.85)),
        (plate, (0.37, 0.36, 0.63, 0.54)),
        (exhaust, (0.12, 0.03, 0.24, 0.16)),
    ]
    nose = [
        (trim, (0, 0, 1, 0.2)),
        (trim.warm(0.6 * heat), (0.22, 0.26, 0.78, 0.66)),
        (front_lamp, (0.02, 0.5, 0.2, 0.84), (0.8, 0.5, 0.98, 0.84)),
        (plate, (0.38, 0.12, 0.62, 0.28)),
    ]
    panes = [(glass, (0.05, 0.12, 0.36, 0.86), (0.4, 0.12, 0.66, 0.86), (0.7, 0.12, 0.95, 0.86))]
    if tall:
        panes = [(glass, *((0.03 + 0.16 * i, 0.25, 0.17 + 0.16 * i, 0.85) for i in range(6)))]
    return glass, panes, rear, nose


def _cargo_faces(shape: Shape, body: Paint, rng: np.random.Generator) -> list:
    """The box of a truck, as faces like those of `_vehicle_faces`."""
    w, low, top, r = 1.2, 0.85, 3.2, -shape.length / 2
    f = r + 0.7 * shape.length
    box = body._replace(rgb=pick(rng, ((226, 226, 222), (206, 196, 120), (120, 140, 170), (190, 90, 60))), blotch=0.08)
    sign = [(box._replace(rgb=pick(rng, BODIES)), (0.2, 0.35, 0.8, 0.7))]  # paint only: infrared does not see it
    sides = [([(s * w, low, r), (s * w, low, f), (s * w, top, f), (s * w, top, r)], box, sign) for s in (-1, 1)]
    return sides + [
        (
            [(-w, low, r), (w, low, r), (w, top, r), (-w, top, r)],
            box,
            [(box.shade(0.6), (0.49, 0.02, 0.51, 0.98)), (box.shade(0.5), (0.02, 0, 0.98, 0.04))],
        ),
        ([(w, low, f), (-w, low, f), (-w, top, f), (w, top, f)], box, []),
    ]


def _wheels(canvas: Canvas, place: Placer, shape: Shape, heat: float) -> None:
    """The wheels on the side that the camera sees, and those seen end on under the bumper."""
    w, air = shape.width / 2, canvas.climate.air
    tyre = Paint((20, 20, 21), air + 1 + 0.6 * heat, grain=0.02)
    hub = Paint((120, 122, 126), air + 1 + heat, grain=0.02)
    axles = (-0.31 * shape.length, 0.31 * shape.length)
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    eye = place([(0, 0, 0)])[0]
    for side in (-1, 1):
        out = place([(side, 0, 0)])[0] - eye
        if out @ (eye + out * w) > 0:  # faces away
            continue
        for axle in axles:
            for radius, paint in ((1.0, tyre), (0.6, hub)):
                r = shape.wheel * radius
                ring = [(side * (w + 0.01), shape.wheel + r * np.sin(a), axle + r * np.cos(a)) for a in angle]
                canvas.fill(place(ring), paint)
    end = -1 if place([(0, 0, 1)])[0][2] > eye[2] else 1
    t = end * (0.5 * shape.length - 0.3)
    for side in (-1, 1):
        a, b = side * (w - 0.22), side * w
        canvas.fill(place([(a, 0, t), (b, 0, t), (b, 0.32, t), (a, 0.32, t)]), tyre)
