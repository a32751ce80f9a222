"""A camera, and a canvas that knows which surface each pixel of a scene shows.

Every polygon drawn is one *surface*: a plane in space with one `Paint` (colour, heat, glow, texture). The canvas
keeps only which surface each pixel shows, at twice the image size; colour, temperature and depth are looked up from
that one map afterwards. So visible, infrared and depth cannot disagree about an edge, and all three are antialiased
alike. Nearer things are drawn later (painter's algorithm); the caller sorts them.

World axes, in metres: X right, Y up from the ground, Z forward from the camera's foot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from iassf_jax.scenes.materials import GLOW_MAX, RGB, TILE, Paint, sample_textures, textures

NEAR = 0.6  # metres; polygons are cut here, before they reach the camera
FAR = 600.0  # metres; the farthest ground, below what a 16-bit PNG in centimetres can hold
SKY_DEPTH = 1000.0  # metres; the sky's plane
HEAT_ZERO, HEAT_STEP = -40.0, 0.5  # degrees Celsius of heat byte 0, and per count
_SUBPIXEL = 4  # fractional bits that cv2 takes in polygon corners
CIRCLE = tuple((float(np.cos(t)), float(np.sin(t))) for t in np.linspace(0, 2 * np.pi, 14, endpoint=False))


@dataclasses.dataclass(frozen=True)
class Camera:
    """A level pinhole camera: focal length, principal column and horizon row in pixels, height in metres."""

    focal: float
    cx: float
    horizon: float
    height: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """float[..., 3] world points with Z > 0 -> float[..., 2] pixel positions (x, y)."""
        scale = self.focal / points[..., 2]
        pixels = np.empty((*scale.shape, 2))
        pixels[..., 0] = points[..., 0] * scale + self.cx
        pixels[..., 1] = (self.height - points[..., 1]) * scale + self.horizon
        return pixels


@dataclasses.dataclass(frozen=True)
class Climate:
    """Lighting ("day", "dusk", "night"), air temperature in Celsius, and the unit vector to the sun (None: no sun)."""

    lighting: str
    air: float
    sun: tuple[float, float, float] | None

    @property
    def lamps_on(self) -> bool:
        """Whether street lamps, lit windows and headlights are on."""
        return self.lighting != "day"


class Surfaces(NamedTuple):
    """What each pixel shows. All arrays are [H, W] float32 unless said."""

    colour: np.ndarray  # uint8 [H, W, 4]: RGB reflectance, and the heat byte
    glow: np.ndarray  # uint8 [H, W, 4]: emitted RGB (square-root coded, 255 = GLOW_MAX), and the share of sky
    depth: np.ndarray  # metres
    x: np.ndarray  # world X, metres
    y: np.ndarray  # world Y, metres
    facing: np.ndarray  # cosine between the surface and the sun, 0..1
    shadow: np.ndarray  # 0 lit .. 1 in shadow, on the ground only
    texture: np.ndarray  # relative change of reflectance, around 0
    warmth: np.ndarray  # temperature texture, degrees Celsius, around 0
    people: np.ndarray  # bool [H, W]


def _clip_near(points: np.ndarray) -> np.ndarray:
    """Cut a polygon float[N, 3] at Z = NEAR (Sutherland-Hodgman); the result may be empty."""
    if points[:, 2].min() >= NEAR:
        return points
    out = []
    for p, q in zip(points, np.roll(points, -1, 0), strict=True):
        if p[2] >= NEAR:
            out.append(p)
        if (p[2] >= NEAR) != (q[2] >= NEAR):
            out.append(p + (NEAR - p[2]) / (q[2] - p[2]) * (q - p))
    return np.array(out).reshape(-1, 3)


def inset_quads(quad: np.ndarray, parts: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
    """Parts (u0, v0, u1, v1) of a quad float[4, 3] that starts bottom left, as float[N, 4, 3]; u right, v up, 0..1."""
    parts = np.array(parts).reshape(-1, 4)
    u, v = parts[:, (0, 2, 2, 0)], parts[:, (1, 1, 3, 3)]
    return np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], -1) @ quad


class Canvas:
    """Collects the surfaces of one scene and which of them each pixel shows."""

    def __init__(self, camera: Camera, climate: Climate, height: int, width: int) -> None:
        self.camera, self.climate = camera, climate
        self.shape = (height, width)
        self.lights: list[tuple[np.ndarray, RGB, float]] = []  # place, linear colour, reach in metres
        self.taken: list[tuple[float, float, float]] = []  # x, z and radius of vehicles: no one stands there
        self._labels = np.zeros((2 * height, 2 * width), np.uint16)  # 0 is the sky
        self._shadow = np.zeros((height, width), np.uint8)
        self._paints = [Paint((0, 0, 0), HEAT_ZERO, grain=0, blotch=0, haze=0)]
        self._rows = [(0.0, 0.0, 1 / SKY_DEPTH, 0.0, 0.0, 0.0, 0.0)]  # 1/Z = a x + b y + c, facing, axes, ground
        self.on_ground = False  # set while the ground is painted: shadows fall on such surfaces

    def _register(
        self, paint: Paint, plane: tuple[float, float, float], facing: float, along: bool = False, level: bool = False
    ) -> int:
        """Add a surface and return its label."""
        self._paints.append(paint)
        self._rows.append((*plane, facing, along, level, self.on_ground))
        return len(self._rows) - 1

    def _upright(self, paint: Paint, z: float) -> int:
        """Add a plane at depth z that faces the camera."""
        sun = self.climate.sun
        return self._register(paint, (0.0, 0.0, 1 / z), max(0.0, -sun[2]) if sun else 0.0)

    def _surface(self, paint: Paint, points: np.ndarray) -> int:
        """Add the plane through the corners of a polygon float[N, 3]."""
        n, cam = len(points), self.camera
        (px, py, pz), (qx, qy, qz), (rx, ry, rz) = points[[0, n // 3, (2 * n) // 3]].tolist()
        ux, uy, uz, vx, vy, vz = qx - px, qy - py, qz - pz, rx - px, ry - py, rz - pz
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        eye = nx * px + ny * (py - cam.height) + nz * pz
        length = (nx * nx + ny * ny + nz * nz) ** 0.5
        if abs(eye) < 0.02 * length or length < 1e-9:  # seen edge on, or a line: take it as facing the camera
            return self._upright(paint, pz)
        a, b = nx / cam.focal / eye, -ny / cam.focal / eye
        scale = (-1.0 if eye > 0 else 1.0) / length  # the normal points to the camera
        sun = self.climate.sun or (0.0, 0.0, 0.0)
        facing = max(0.0, scale * (nx * sun[0] + ny * sun[1] + nz * sun[2]))
        plane = (a, b, nz / eye - a * cam.cx - b * cam.horizon)
        return self._register(paint, plane, facing, abs(nx) > 0.7 * length, abs(ny) > 0.7 * length)

    def _corners(self, points: np.ndarray, zoom: int = 2) -> np.ndarray:
        """float[..., 3] world points -> int32[..., 2] fixed-point corners in a map `zoom` times the image size."""
        pixels = self.camera.project(points)
        pixels *= zoom << _SUBPIXEL
        pixels -= 0.5 * (1 << _SUBPIXEL)
        return np.rint(pixels).astype(np.int32)

    def fill(self, points: np.ndarray, paint: Paint) -> None:
        """Fill a flat polygon float[N, 3]."""
        self.fill_all([np.asarray(points, float)], paint)

    def fill_all(self, polygons: Sequence[np.ndarray], paint: Paint) -> None:
        """Fill flat polygons float[N, 3] that lie in one plane and do not overlap."""
        polygons = [p for p in map(_clip_near, polygons) if len(p) >= 3]
        if polygons:
            self._fill(self._surface(paint, polygons[0]), polygons)

    def _fill(self, label: int, polygons: Sequence[np.ndarray]) -> None:
        corners = self._corners(np.concatenate(polygons))
        if len(polygons) > 1:
            corners = np.split(corners, np.cumsum([len(p) for p in polygons[:-1]]))
        else:
            corners = [corners]
        cv2.fillPoly(self._labels, corners, label, cv2.LINE_8, _SUBPIXEL)

    def line(self, points: np.ndarray, metres: float, paint: Paint) -> None:
        """Draw an open polyline float[N, 3] that is `metres` thick, at least half a pixel."""
        z = float(points[:, 2].mean())
        if points[:, 2].min() > NEAR:
            thickness = min(max(1, round(2 * self.size(metres, z))), 255)
            label, corners = self._upright(paint, z), [self._corners(points)]
            cv2.polylines(self._labels, corners, False, label, thickness, cv2.LINE_8, _SUBPIXEL)

    def board(self, x: float, z: float, outline: Sequence[tuple[float, float]], paint: Paint) -> None:
        """Fill a flat outline that faces the camera: (right, up) metres from the point (x, z) of the ground."""
        if z > NEAR:
            self._fill(self._upright(paint, z), [np.array([(x + u, v, z) for u, v in outline])])

    def disc(self, x: float, y: float, z: float, rx: float, ry: float, paint: Paint) -> None:
        """Fill an ellipse that faces the camera."""
        self.board(x, z, [(rx * u, y + ry * v) for u, v in CIRCLE], paint)

    def size(self, metres: float, z: float) -> float:
        """Pixels that a length spans at depth z."""
        return self.camera.focal * metres / max(z, NEAR)

    def in_view(self, x0: float, x1: float, z0: float, z1: float) -> bool:
        """Whether a thing on this footprint can fall between the left and right image edges."""
        low, high = ((edge - self.camera.cx) / self.camera.focal for edge in (0, self.shape[1]))
        return min(x0 / z0, x0 / z1) < high and max(x1 / z0, x1 / z1) > low

    def stamp(self, field: np.ndarray, tones: np.ndarray, box: tuple, z: float, paints: Sequence[Paint]) -> None:
        """Draw a ragged shape that faces the camera.

        Args:
          field: uint8[n, m]; the shape is where it exceeds 128, after leaf-sized noise is added.
          tones: uint8[n, m]; chooses among `paints`, dark to bright, with the same noise added.
          box: left, right, bottom and top in metres, at depth z.
        """
        left, right, bottom, top = box
        corners = self.camera.project(np.array([(left, top, z), (right, bottom, z)])) * 2
        (x0, y0), (x1, y1) = np.rint(corners).astype(int).tolist()
        height, width = self._labels.shape
        cx0, cx1, cy0, cy1 = max(x0, 0), min(x1, width), max(y0, 0), min(y1, height)
        if cx1 - cx0 < 2 or cy1 - cy0 < 2:
            return
        both = np.dstack([field, tones])
        n, m = field.shape
        top, low = (cy0 - y0) * n // (y1 - y0), -(-(cy1 - y0) * n // (y1 - y0))  # the cells in view
        west, east = (cx0 - x0) * m // (x1 - x0), -(-(cx1 - x0) * m // (x1 - x0))
        both = cv2.resize(both[top:low, west:east], (cx1 - cx0, cy1 - cy0))
        rows, cols = both.shape[:2]
        leaves, start = textures()[2], int(z * 97)
        if max(rows, cols) > TILE:
            leaves = np.tile(leaves, (-(-rows // TILE), -(-cols // TILE)))
        r, c = (start % (1 + side - used) for side, used in zip(leaves.shape, (rows, cols), strict=True))
        noise = leaves[r : r + rows, c : c + cols] >> 2
        first = [self._upright(p, z) for p in paints][0]
        tone = (np.arange(256) * len(paints) // 256).astype(np.uint8)
        surface = cv2.LUT(cv2.add(both[..., 1], noise), tone) + np.uint16(first)
        np.copyto(self._labels[cy0:cy1, cx0:cx1], surface, where=cv2.add(both[..., 0], noise) > 160)

    def cast(self, points: Sequence) -> None:
        """Darken the ground where a thing with these outermost points float[N, 3] keeps the light away."""
        points = np.asarray(points, float)
        sun = self.climate.sun
        foot = points * (1.0, 0.0, 1.0)
        if sun is None:  # overcast or dark: only the ground below
            hull, strength = foot, 110
        else:
            drop = points[:, 1:2] * (np.array([sun[0], 0.0, sun[2]]) / sun[1])
            hull, strength = np.concatenate([foot, foot - drop]), 255
        ring = cv2.convexHull(hull[:, ::2].astype(np.float32))[:, 0]
        hull = _clip_near(np.stack([ring[:, 0], np.zeros(len(ring)), ring[:, 1]], -1))
        if len(hull) >= 3:
            cv2.fillPoly(self._shadow, [self._corners(hull, 1)], strength, cv2.LINE_AA, _SUBPIXEL)

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Per label: the packed colour and heat bytes, and the packed glow and sky bytes, as uint32[n]."""
        rgb = np.array([p.rgb for p in self._paints])
        heat = (np.array([[p.heat] for p in self._paints]) - HEAT_ZERO) / HEAT_STEP
        glow = np.sqrt(np.array([p.glow for p in self._paints]) / GLOW_MAX) * 255
        sky = 255 * np.array([[p.mirror] for p in self._paints])
        sky[0] = 255
        pack = [np.clip(np.rint(np.hstack(t)), 0, 255).astype(np.uint8) for t in ((rgb, heat), (glow, sky))]
        return pack[0].view(np.uint32)[:, 0], pack[1].view(np.uint32)[:, 0]

    def resolve(self, offset: tuple[float, float]) -> Surfaces:
        """Look up what every pixel shows; `offset` (metres) shifts the textures."""
        height, width = self.shape
        contrast = np.array([p[3:7] for p in self._paints], np.float32) / 40  # a tile holds 40 * noise
        columns = [np.ascontiguousarray(c) for c in np.hstack([np.array(self._rows, np.float32), contrast]).T]
        people = np.array([p.person for p in self._paints])
        packed = self._tables()
        whole = Surfaces(
            *(np.empty((height, width, 4), np.uint8) for _ in range(2)),
            *(np.empty((height, width), np.float32) for _ in range(7)),
            np.empty((height, width), bool),
        )
        shadow = cv2.GaussianBlur(self._shadow, (0, 0), max(width / 500, 0.3))
        for rows in bands(height, width):
            fine = self._labels[2 * rows.start : 2 * rows.stop]
            for out, table in zip(whole[:2], packed, strict=True):
                both = np.take(table, fine).view(np.uint8).reshape(*fine.shape, 4)
                out[rows] = cv2.resize(both, (width, len(fine) // 2), interpolation=cv2.INTER_AREA)
            labels = fine[::2, ::2].astype(np.intp)
            for out, values in zip(whole[2:9], self._look_up(labels, rows, columns, shadow, offset), strict=True):
                out[rows] = values
            whole.people[rows] = people[labels]
        return whole

    def _look_up(
        self,
        labels: np.ndarray,
        rows: slice,
        columns: list[np.ndarray],
        shadow: np.ndarray,
        offset: tuple[float, float],
    ) -> tuple[np.ndarray, ...]:
        """The fields depth..warmth of `Surfaces` for some rows."""
        a, b, c, facing, along, level, ground, *contrast = (np.take(column, labels) for column in columns)
        x = np.arange(labels.shape[1], dtype=np.float32) + 0.25  # where the label map was read
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.25
        inverse = np.clip(a * x + b * y + c, 1 / FAR, 1 / 0.3)
        depth = 1 / inverse
        x = depth * ((x - self.camera.cx) / self.camera.focal)
        y = self.camera.height - depth * ((y - self.camera.horizon) / self.camera.focal)
        u = np.where(along > 0, depth, x) + np.float32(offset[0])
        v = np.where(level > 0, depth, y) + np.float32(offset[1])
        texture, warmth = sample_textures(u, v, inverse * self.camera.focal, contrast)
        depth[labels == 0] = SKY_DEPTH
        return depth, x, y, facing, shadow[rows] * ground / 255, texture, warmth


def bands(height: int, width: int) -> list[slice]:
    """Row ranges of about 16 thousand pixels: work on one stays in the processor's cache, which halves its time."""
    step = max(1, 16384 // width)
    return [slice(r, min(r + step, height)) for r in range(0, height, step)]
