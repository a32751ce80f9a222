"""Put haze on every image of a folder, and keep a record of how each file was made."""

import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from iassf_jax.data import images
from iassf_jax.data.haze import (
    HAZE_KINDS,
    HazeParams,
    Ranges,
    apply_haze,
    check_depth_settings,
    draw_haze,
    load_depth,
    merged_ranges,
)
from iassf_jax.data.images import PathLike
from iassf_jax.data.layouts import Problem, doubled, list_images, problem_from
from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes


@dataclass(frozen=True)
class HazeRecord:
    """How one file was made: params say all but the depth; source and depth are the paths as given."""

    stem: str
    source: str
    seed: int
    params: HazeParams
    depth: str | None = None
    depth_meaning: str | None = None
    depth_scale: float | None = None

    def how_deep(self) -> tuple[str | None, str | None, float | None]:
        """The depth map, wherever this process stands, and how it is read."""
        return self.depth and os.path.realpath(self.depth), self.depth_meaning, self.depth_scale


@dataclass(frozen=True)
class _Job:
    """The settings of `haze_folder`, less the input folder."""

    output: Path
    kind: str
    seed: int
    ranges: Ranges | None
    depths: Mapping[str, list[str]] | None
    depth_meaning: str | None
    depth_scale: float | None
    overwrite: bool
    known: Mapping[str, HazeRecord]

    def run(self, stem: str, paths: list[str]) -> HazeRecord | Problem:
        target, depths = self.output / f"{stem}.png", [] if self.depths is None else self.depths.get(stem, [])
        if len(paths) > 1 or len(depths) > 1:
            return doubled(paths if len(paths) > 1 else depths)
        if self.depths is not None and not depths:
            return Problem(paths[0], "has no depth map of the same stem: add it, or use a haze kind without depth")
        # Of the stem alone, so that neither the order nor the other files matter.
        rng = np.random.default_rng([self.seed, zlib.crc32(stem.encode("utf-8", "surrogateescape"))])
        params = draw_haze(self.kind, rng, self.ranges)
        how = (depths[0], self.depth_meaning, self.depth_scale) if depths else ()
        record = HazeRecord(stem, paths[0], self.seed, params, *how)
        if target.exists() and not self.overwrite:
            return self._kept(target, record)
        try:
            depth = load_depth(depths[0], self.depth_meaning, self.depth_scale) if depths else None
            hazy = apply_haze(images.read_visible(paths[0]), params, depth)
        except UserError as error:
            return problem_from(paths[0], error)
        images.write_image(target, hazy)
        return record

    def _kept(self, target: Path, asked: HazeRecord) -> HazeRecord | Problem:
        record = self.known.get(target.stem)
        if record is None:
            return Problem(str(target), "is kept, but haze.json does not say how it was made: overwrite or remove it")
        if record.params.kind != self.kind:
            other = f"has haze {record.params.kind!r}"
        elif os.path.realpath(record.source) != os.path.realpath(asked.source):
            other = f"is of {record.source}"
        elif record.params != asked.params or record.how_deep() != asked.how_deep():
            other = "has haze of another seed, range or depth map"
        else:
            return record
        return Problem(str(target), f"is kept, but {other}: choose another --output, or --overwrite")


def _read_records(path: Path) -> dict[str, HazeRecord]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["images"]
        return {
            stem: HazeRecord(**{**record, "params": HazeParams.from_dict(record["params"])})
            for stem, record in found.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): remove it, and the images beside it") from None


def _write_records(path: Path, records: Mapping[str, HazeRecord]) -> None:
    content = {"images": {stem: asdict(record) for stem, record in sorted(records.items())}}
    write_bytes(path, json.dumps(content, indent=1).encode())


def haze_folder(
    visible_dir: PathLike,
    output_dir: PathLike,
    kind: str,
    seed: int,
    depth_dir: PathLike | None = None,
    depth_meaning: str | None = None,
    depth_scale: float | None = None,
    ranges: Ranges | None = None,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> tuple[tuple[HazeRecord, ...], tuple[Problem, ...]]:
    """Puts haze on every image of a folder and writes `STEM.png`, and `haze.json` with the parameters of each.

    What an image gets depends on the seed and its stem alone.

    Args:
        visible_dir: the clear images.
        output_dir: another folder; made if need be.
        kind: a name from `HAZE_KINDS`.
        seed: >= 0.
        depth_dir: for kinds that need or follow it, depth maps of the same stems, read as `load_depth` does.
        depth_meaning: `depth` or `disparity`.
        depth_scale: see `load_depth`.
        ranges: see `draw_haze`.
        progress: called with (images done, images in all).
        overwrite: make images anew that are there already, instead of keeping them.

    Returns:
        What was made or kept, sorted by stem, and the files that could not be used.

    Raises:
        UserError: no images, wrong settings, or an output folder that is an input folder or cannot be written.
    """
    _check_settings(kind, ranges, depth_dir is not None, depth_meaning, depth_scale)
    if seed < 0:
        raise UserError(f"haze seed is {seed}: use 0 or more")
    for folder in (visible_dir, depth_dir):
        if folder is not None and os.path.realpath(folder) == os.path.realpath(output_dir):
            raise UserError(f"{output_dir}: is also an input folder: write to another one")
    listed = sorted(list_images(visible_dir).items())
    if not listed:
        raise UserError(f"{visible_dir}: has no images: check the folder")
    depths = list_images(depth_dir, (*images.IMAGE_SUFFIXES, ".npy")) if depth_dir is not None else None
    index = Path(output_dir) / "haze.json"
    known = _read_records(index)
    job = _Job(Path(output_dir), kind, seed, ranges, depths, depth_meaning, depth_scale, overwrite, known)
    done: list[HazeRecord | Problem] = []
    if overwrite and (old := known.keys() & dict(listed)):  # a killed process leaves no record of what was there before
        known = {stem: record for stem, record in known.items() if stem not in old}
        _write_records(index, known)
    try:
        for stem, paths in listed:
            done.append(job.run(stem, paths))
            if progress:
                progress(len(done), len(listed))
    finally:  # also when interrupted: the images that are written need their parameters
        records = {item.stem: item for item in done if isinstance(item, HazeRecord)}
        _write_records(index, {**known, **records})
    return tuple(records.values()), tuple(item for item in done if isinstance(item, Problem))


def _check_settings(
    kind: str, ranges: Ranges | None, with_depth: bool, depth_meaning: str | None, depth_scale: float | None
) -> None:
    """Raises UserError for settings that do not go together, before any work is done."""
    merged_ranges(kind, ranges)
    needed = HAZE_KINDS[kind].needs_depth
    if needed != with_depth and not (with_depth and HAZE_KINDS[kind].air):
        raise UserError(f"haze kind '{kind}' {'needs' if needed else 'uses no'} depth maps: correct the depth folder")
    if with_depth:
        check_depth_settings(depth_meaning, depth_scale)
