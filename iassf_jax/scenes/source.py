"""Scenes from seeds: one, a random-access sequence, and image files."""

from __future__ import annotations

import dataclasses
import operator
import pathlib
from collections.abc import Sequence

import numpy as np

from iassf_jax.data.images import PathLike, write_image
from iassf_jax.errors import UserError
from iassf_jax.scenes.cameras import render_infrared, render_visible
from iassf_jax.scenes.canvas import Canvas
from iassf_jax.scenes.layout import lay_out
from iassf_jax.scenes.place import LIGHTINGS, PLACES, draw_setting

LIGHTING_SHARES = (0.5, 0.15, 0.35)
LETTERS = {"day": "D", "dusk": "K", "night": "N"}
MIN_SIDE, MAX_SIDE = 16, 4096
DEPTH_SCALE = 100.0  # counts a metre in depth PNGs: centimetres


@dataclasses.dataclass(frozen=True)
class Scene:
    """One generated scene; every array is aligned with the others, pixel for pixel."""

    visible: np.ndarray  # uint8 [H, W, 3], RGB
    infrared: np.ndarray  # uint8 [H, W]
    depth: np.ndarray  # float32 [H, W], metres along the optical axis, > 0; the sky is at SKY_DEPTH
    lighting: str  # "day", "dusk" or "night"
    people: np.ndarray  # bool [H, W]: where a person is seen


def generate_scene(
    seed: int, height: int = 480, width: int = 640, lighting: str | None = None, place: str | None = None
) -> Scene:
    """Make the scene of a seed: the same arguments give the same bits, in every process.

    Args:
      seed: any integer >= 0.
      height, width: pixels, each 16..4096; the layout scales with the width.
      lighting: "day", "dusk" or "night"; None lets the seed draw it.
      place: one of `PLACES`; None lets the seed draw one with a road.

    Raises:
      UserError: a bad seed or size, or an unknown lighting or place.
    """
    seed, height, width = _check(seed, height, width, lighting, place)
    lighting = lighting or _drawn_lighting(seed)
    layout, sensor = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3)[1:])
    setting = draw_setting(layout, lighting, height, width, place)
    canvas = Canvas(setting.camera, setting.climate, height, width)
    lay_out(canvas, setting, layout)
    seen = canvas.resolve((layout.uniform(300, 900), layout.uniform(10, 900)))
    visible = render_visible(canvas, seen, setting, sensor)
    infrared = render_infrared(seen, setting, sensor)
    return Scene(visible, infrared, seen.depth, lighting, seen.people)


def _drawn_lighting(seed: int) -> str:
    draw = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    return LIGHTINGS[int(np.searchsorted(np.cumsum(LIGHTING_SHARES), draw.random(), side="right"))]


def _check(seed: int, height: int, width: int, lighting: str | None, place: str | None) -> tuple[int, int, int]:
    """Return the numbers as plain integers, or raise UserError."""
    try:
        seed, height, width = (operator.index(n) for n in (seed, height, width))
    except TypeError:
        raise UserError(f"scene seed, height and width must be integers, got {seed!r}, {height!r}, {width!r}") from None
    if seed < 0:
        raise UserError(f"scene seed must be 0 or more, got {seed}")
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise UserError(f"scene height and width must be {MIN_SIDE}..{MAX_SIDE} pixels, got {height} x {width}")
    if lighting is not None and lighting not in LIGHTINGS:
        raise UserError(f"unknown lighting {lighting!r}; use one of {', '.join(LIGHTINGS)}, or None")
    if place is not None and place not in PLACES:
        raise UserError(f"unknown place {place!r}; use one of {', '.join(PLACES)}, or None")
    return seed, height, width


class SceneSource:
    """A random-access sequence of scenes; item i depends on the seed and i only."""

    def __init__(
        self,
        num_scenes: int,
        seed: int = 0,
        height: int = 480,
        width: int = 640,
        places: Sequence[str] = (),
        lighting: str | None = None,
    ) -> None:
        """Scenes at `places` by turns, at places with a road where none is named; `lighting` as of `generate_scene`.

        Raises UserError for a negative number of scenes, or what `generate_scene` would refuse.
        """
        if num_scenes < 0:
            raise UserError(f"the number of scenes must be 0 or more, got {num_scenes}")
        self._num_scenes = num_scenes
        self._places, self._lighting = tuple(places) or (None,), lighting
        for place in self._places:
            self._seed, self._height, self._width = _check(seed, height, width, lighting, place)

    def __len__(self) -> int:
        return self._num_scenes

    def __getitem__(self, index: int) -> Scene:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        number = index % len(self)
        place = self._places[number % len(self._places)]
        return generate_scene(self._seed_of(number), self._height, self._width, self._lighting, place)

    def _seed_of(self, number: int) -> int:
        return int(np.random.SeedSequence([self._seed, number]).generate_state(1, np.uint64)[0])

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of files: number and lighting."""
        lightings = (self._lighting or _drawn_lighting(self._seed_of(i)) for i in range(len(self)))
        return tuple(f"{i:05d}{LETTERS[lighting]}" for i, lighting in enumerate(lightings))


def write_scenes(
    directory: PathLike,
    num_scenes: int,
    seed: int = 0,
    height: int = 480,
    width: int = 640,
    places: Sequence[str] = (),
    lighting: str | None = None,
) -> list[str]:
    """Write DIR/vi/NNNNNX.png, DIR/ir/NNNNNX.png and DIR/depth/NNNNNX.png for every scene of a `SceneSource`.

    X is D, K or N for day, dusk or night. Depth is a 16-bit PNG in centimetres, cut at 65535: surfaces reach 600 m,
    so 65535 means sky. Each file appears whole or not at all.

    Returns:
      The stems ("00000D", ...), in order.

    Raises:
      UserError: a bad argument, other files in these folders, or a file that cannot be written.
    """
    source, folder = SceneSource(num_scenes, seed, height, width, places, lighting), pathlib.Path(directory)
    stems, folders = list(source.stems), ("vi", "ir", "depth")
    there = {path.name for name in folders for path in (folder / name).glob("[!.]*")}
    if others := there - {f"{stem}.png" for stem in stems}:
        raise UserError(f"{directory}: holds other images, as {min(others)}: give a new folder")
    for index, stem in enumerate(stems):
        scene = source[index]
        centimetres = np.clip(np.rint(scene.depth * DEPTH_SCALE), 0, 65535).astype(np.uint16)
        for name, image in zip(folders, (scene.visible, scene.infrared, centimetres), strict=True):
            write_image(folder / name / f"{stem}.png", image)
    return stems
