"""Reading the pairs that a rig is aligned with: some of a folder, or frames of two videos."""

from pathlib import Path

import numpy as np

from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.fuse import video_files
from iassf_jax.fuse.pairs import find_items

Pair = tuple[np.ndarray, np.ndarray]


def read_pairs(visible: str, infrared: str, count: int) -> tuple[list[Pair], list[str]]:
    """At most `count` pairs, spread over what is there, and their names.

    Args:
        visible: a file, a folder, a glob, or a video.
        infrared: the same; partners have the same stem, and frames the same number.
        count: 1 or more.

    Raises:
        UserError: a file that cannot be read, or no pairs.
    """
    if video_files.is_video(visible) != video_files.is_video(infrared):
        raise UserError(f"{visible} and {infrared}: one is a video and one is not: give two of a kind")
    if video_files.is_video(visible):
        return _frames(visible, infrared, count)
    items, _ = find_items(visible, infrared, Path("aligned"))
    items = [items[i] for i in _spread(len(items), count)]
    pairs = [(images.read_visible(item.visible), images.read_infrared(item.infrared)) for item in items]
    return pairs, [item.stem for item in items]


def _frames(visible: str, infrared: str, count: int) -> tuple[list[Pair], list[str]]:
    films = [video_files.described(path) for path in (visible, infrared)]
    wanted = set(_spread(min(film.frames for film in films), count)) or set(range(count))
    pairs = [
        (i, (frame, images.one_channel(heat)))
        for i, (frame, heat) in enumerate(zip(*(video_files.Frames(film, 0) for film in films), strict=False))
        if i in wanted
    ]
    if not pairs:
        raise UserError(f"{visible} and {infrared}: have no frame in common: check the videos")
    return [pair for _, pair in pairs], [f"frame {i}" for i, _ in pairs]


def _spread(total: int, count: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, total - 1, min(count, total))}) if total else []
