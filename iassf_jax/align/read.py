"""Reading the pairs that a rig is aligned with: some of a folder, or frames of two videos."""

from typing import NamedTuple

import numpy as np

from iassf_jax.data import images
from iassf_jax.data.layouts import Problem
from iassf_jax.data.levels import in_integers
from iassf_jax.data.notes import Note
from iassf_jax.errors import UserError
from iassf_jax.fuse import video_files
from iassf_jax.fuse.pairs import NO_AFFIXES, Affixes, find_items
from iassf_jax.fuse.reading import orientations, read_pair

Pair = tuple[np.ndarray, np.ndarray]


class Sample(NamedTuple):
    """Pairs of uint8|uint16[H, W, 3] and uint8|uint16[h, w], their names, notes of files, and what has no partner."""

    pairs: list[Pair]
    names: list[str]
    notes: list[tuple[str, Note]]
    problems: list[Problem]


def read_pairs(visible: str, infrared: str, count: int, affixes: Affixes = NO_AFFIXES, orient: str = "same") -> Sample:
    """At most `count` pairs, spread over what is there, turned as `fuse` turns them.

    Args:
        visible: a file, a folder, a glob, or a video.
        infrared: the same; partners have the same stem, and frames the same number.
        count: 1 or more.
        affixes: of the names.
        orient: one of `reading.ORIENTS`.

    Raises:
        UserError: a file that cannot be read, or no pairs.
    """
    if video_files.is_video(visible) != video_files.is_video(infrared):
        raise UserError(f"{visible} and {infrared}: one is a video and one is not: give two of a kind")
    if video_files.is_video(visible):
        return _frames(visible, infrared, count, orient)
    items, problems = find_items(visible, infrared, None, affixes)
    items = [items[i] for i in _spread(len(items), count)]
    sample = Sample([], [item.stem for item in items], [], problems)
    for item in items:
        said: list[Note] = []
        frame, heat = read_pair(item.visible, item.infrared, orient, False, said)
        frame, heat = in_integers(frame, item.visible), in_integers(heat, item.infrared)
        sample.pairs.append((images.three_channels(frame), images.one_channel(heat)))
        sample.notes.extend((item.visible, note) for note in said)
    return sample


def _frames(visible: str, infrared: str, count: int, orient: str) -> Sample:
    films = [video_files.described(path) for path in (visible, infrared)]
    if silent := [film.path for film in films if not film.frames]:
        raise UserError(f"{silent[0]}: does not say how many frames it has: convert it to .mp4 (H.264)")
    notes: list[Note] = []
    video_files.compare_rates((films[0], films[1]), notes)
    turns = orientations((films[0].turn, films[1].turn), orient, 0, notes)
    sides = [video_files.Frames(film, turn) for film, turn in zip(films, turns, strict=True)]
    wanted = set(_spread(min(film.frames for film in films), count))
    try:
        pairs = [
            (i, (frame, images.one_channel(heat)))
            for i, (frame, heat) in enumerate(zip(*sides, strict=False))
            if i in wanted
        ]
    finally:
        for side in sides:
            side.close()
    if not pairs:
        raise UserError(f"{visible} and {infrared}: have no frame in common: check the videos")
    named = [f"frame {i}" for i, _ in pairs]
    return Sample([pair for _, pair in pairs], named, [(visible, note) for note in notes], [])


def _spread(total: int, count: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, total - 1, min(count, total))}) if total else []
