"""Fusing image files: a pair, two folders, or two globs, resumable, with a manifest of what was made how."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from iassf_jax import __version__
from iassf_jax.align.placing import Placing, prepare_placed
from iassf_jax.data import images
from iassf_jax.data.layouts import Problem, problem_from
from iassf_jax.data.notes import Note
from iassf_jax.errors import UserError
from iassf_jax.files import SCRATCH
from iassf_jax.fuse.fuser import Fuser, Result
from iassf_jax.fuse.manifest import Manifest
from iassf_jax.fuse.pairs import EXTRAS, NO_AFFIXES, Affixes, Item, find_items
from iassf_jax.fuse.prepare import DEFAULT, Preparation, Prepared
from iassf_jax.fuse.reading import HashedReads, check_orient, read_pair
from iassf_jax.fuse.strengths import FULL, Strengths
from iassf_jax.locks import locked
from iassf_jax.report.pictures import sample_grid

Record = dict[str, Any]
_Made = tuple[Record, list[Note]]
_READ_AHEAD = 2  # pairs; decoding is as slow as the network on a GPU


@dataclasses.dataclass(frozen=True)
class Options:
    """How pairs are fused and what is kept.

    Attributes:
        save: of `EXTRAS`: the dehazed image, the haze density (grey, 0..255 for 0..1), a panel of all images.
        preparation: what is done to the images before.
        strengths: how much haze is taken off, and how much infrared is added.
        shard: (i, n): only every n-th pair, from the i-th; i is 1 to n.
        overwrite: makes anew what is there.
        orient: one of `reading.ORIENTS`.
        damaged: reads JPEG files that are cut off, as far as they go.
        affixes: of the names of partners.
        manifest: writes STEM_manifest.json beside a single image file too; folders always have one.
        placing: how infrared images lie in visible ones; None: pixel on pixel.
    """

    save: tuple[str, ...] = ()
    preparation: Preparation = DEFAULT
    strengths: Strengths = FULL
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    orient: str = "same"
    damaged: bool = False
    affixes: Affixes = NO_AFFIXES
    manifest: bool = False
    placing: Placing | None = None

    def __post_init__(self) -> None:
        check_orient(self.orient)


class Outcome(NamedTuple):
    """The pairs that were made, those that were there, what had to be left out, and what is to be said of pairs."""

    made: list[Item]
    there: list[Item]
    problems: list[Problem]
    notes: list[tuple[Item, Note]]


def fuse_files(
    fuser: Fuser,
    visible: str,
    infrared: str,
    output: str | Path,
    options: Options,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Fuses image files. What a run with the same settings has made already is passed over.

    Args:
        fuser: the network.
        visible: a file, a folder, or a glob in quotes.
        infrared: the same; see `find_items` for who is whose partner.
        output: a folder, for `NAME.png` and `manifest.json`; or, for two files, an image file.
        options: how.
        progress: called with the number of finished pairs and of all.

    Raises:
        UserError: nothing to do, an input that would be overwritten, an output of other settings, or one in which
            another process works.
    """
    items, problems = find_items(visible, infrared, Path(output), options.affixes)
    index, count = options.shard
    items = items[index - 1 :: count]
    if items and items[0].root is None:
        return _fuse_items(fuser, items, problems, Path(output), options, progress)
    with locked(output, "--output", shared=count > 1):
        if count == 1:
            sweep(Path(output), *(item.output(kind).parent for item in items for kind in ("fused", *EXTRAS)))
        return _fuse_items(fuser, items, problems, Path(output), options, progress)


def sweep(*folders: Path) -> None:
    """Removes what a killed run was writing to folders; they are held, so nobody is."""
    for folder in set(folders):
        for path in folder.glob(f"{SCRATCH}*"):
            path.unlink(missing_ok=True)


def _fuse_items(
    fuser: Fuser,
    items: Sequence[Item],
    problems: list[Problem],
    output: Path,
    options: Options,
    progress: Callable[[int, int], None],
) -> Outcome:
    """`fuse_files`, from the pairs that were found."""
    path = _manifest_path(items, output, options.shard)
    in_folder = not items or items[0].root is not None
    kept = in_folder or options.manifest
    manifest = Manifest(path, about(fuser, options), _shard_manifests(items, output), kept)
    there = [] if options.overwrite else _done(items, manifest, ("fused", *options.save))
    known = set(there)
    todo = [item for item in items if item not in known]
    manifest.write({}, problems)
    made: dict[str, Record] = {}
    notes: list[tuple[Item, Note]] = []
    for done, (item, outcome) in enumerate(_run(fuser, todo, options), 1):
        if isinstance(outcome, UserError):
            problems.append(problem_from(item.visible, outcome))
        else:
            record, said = outcome
            made[item.stem] = manifest.joined(item.stem, record)
            notes += [(item, note) for note in said]
        progress(len(there) + done, len(items))
        manifest.write(made, problems)
    if not (made or there or in_folder):
        path.unlink(missing_ok=True)  # nothing stands beside it that it could tell about
    return Outcome([item for item in todo if item.stem in made], there, problems, notes)


def _run(fuser: Fuser, items: Sequence[Item], options: Options) -> Iterator[tuple[Item, _Made | UserError]]:
    read, write = functools.partial(_read, options=options), functools.partial(_write, options.save)
    return pipelined(fuser, items, options.strengths, read, write)


def pipelined(
    fuser: Fuser,
    items: Sequence[Any],
    strengths: Strengths,
    read: Callable[[Any], tuple[Any, ...]],
    write: Callable[..., Any],
) -> Iterator[tuple[Any, Any]]:
    """Fuses pairs in their order, each with its record or what was wrong; reads ahead and writes behind, in threads.

    Args:
        fuser, strengths: how to fuse.
        items: what pairs are made of.
        read: gives a pair as `prepare_pair` does, and whatever else `write` needs.
        write: takes the item, what was read, and the `Result`; gives the record.

    Yields:
        Each item with its record, or the UserError.
    """
    with ThreadPoolExecutor(_READ_AHEAD + 1) as pool:
        reading: list[Future] = [pool.submit(read, item) for item in items[:_READ_AHEAD]]
        writing: tuple[Any, Future] | None = None
        for i, item in enumerate(items):
            if i + _READ_AHEAD < len(items):
                reading.append(pool.submit(read, items[i + _READ_AHEAD]))
            try:
                found = reading[i].result()
                reading[i] = None
                written = pool.submit(write, item, *found, _fuse(fuser, found[0], strengths))
            except UserError as error:
                written = Future()
                written.set_exception(error)
            if writing:
                yield writing[0], _outcome(writing[1])
            writing = item, written
        if writing:
            yield writing[0], _outcome(writing[1])


def _outcome(future: Future) -> Any:
    try:
        return future.result()
    except UserError as error:
        return error


def _read(item: Item, options: Options) -> tuple[Prepared, list[Note], str]:
    """The pair as it is fused, what is to be said of it, and the hash of the very bytes that it was made from."""
    notes: list[Note] = []
    read = HashedReads(images.read_file)
    pair = read_pair(item.visible, item.infrared, options.orient, options.damaged, notes, read)
    try:
        prepared = prepare_placed(*pair, options.preparation, options.placing, notes)
        return prepared, notes, read.sha256()
    except UserError as error:
        raise UserError(f"{item.visible}: {error}") from None


def _fuse(fuser: Fuser, pair: Prepared, strengths: Strengths) -> Result:
    try:
        return fuser.fuse_prepared(pair, strengths)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "memory" not in str(error).lower():
            raise
        size = f"{pair.visible.shape[1]} x {pair.visible.shape[0]}"
        raise UserError(f"{size} pixels do not fit into the device's memory: lower --max-tile") from None


def _write(save: Iterable[str], item: Item, pair: Prepared, notes: list[Note], inputs: str, result: Result) -> _Made:
    """Writes the images. Gives the manifest's record: of `files` the SHA-256, or None of what the network lacks."""
    made: dict[str, str | None] = {}
    for kind, image in [*pictures(save, pair, result), ("fused", result.fused)]:
        made[item.name(kind)] = hashlib.sha256(images.write_image(item.output(kind), image)).hexdigest()
    if lacking := [kind for kind in save if item.name(kind) not in made]:
        notes.append(Note(f"the network gives no {' and no '.join(lacking)} image"))
        made |= dict.fromkeys(map(item.name, lacking))
    files = {"visible": item.visible, "infrared": item.infrared, "fused": str(item.target)}
    said = {"notes": [str(note) for note in notes]} if notes else {}
    return files | {"inputs_sha256": inputs, "files": made} | said, notes


def pictures(kinds: Iterable[str], pair: Prepared, result: Result) -> Iterator[tuple[str, np.ndarray]]:
    """Of the images beside the fused one those that are wanted and there: kind and uint8 image."""
    for kind in kinds:
        if kind == "dehazed":
            yield kind, result.dehazed
        elif kind == "haze" and result.haze_density is not None:
            yield kind, images.in_grey(result.haze_density)
        elif kind == "panel":
            yield kind, panel(pair.visible, pair.infrared, result)


def panel(visible: np.ndarray, infrared: np.ndarray, result: Result, height: int = 360) -> np.ndarray:
    """Hazy, infrared, haze density, dehazed and fused side by side: uint8[height + header, W, 3]."""
    shown = {"hazy": visible, "infrared": infrared, "dehazed": result.dehazed, "fused": result.fused}
    shown = {name: images.to_uint8(images.to_signed(x)) for name, x in shown.items()}
    if result.haze_density is not None:
        shown["haze_density"] = result.haze_density
    return sample_grid([shown], height, ("hazy", "infrared", "haze density", "dehazed", "fused"))


def about(fuser: Fuser, options: Options) -> dict[str, Any]:
    """What a manifest tells of a run: versions, weights and settings."""
    tiling = getattr(fuser.predictor, "tiling", None)
    return {
        "iassf_jax": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "weights": dict(fuser.weights.source),
        "model": dict(fuser.weights.model),
        "settings": {
            **dataclasses.asdict(options.preparation),
            "orient": options.orient,
            "damaged": options.damaged,
            "strengths": dataclasses.asdict(options.strengths),
            "placing": options.placing and options.placing.as_dict(),
            "tiling": tiling and dataclasses.asdict(tiling),
        },
    }


def _manifest_path(items: Sequence[Item], output: Path, shard: tuple[int, int]) -> Path:
    if items and items[0].root is None:
        return items[0].target.with_name(f"{items[0].target.stem}_manifest.json")
    return output / ("manifest.json" if shard[1] == 1 else f"manifest-{shard[0]}-of-{shard[1]}.json")


def _shard_manifests(items: Sequence[Item], output: Path) -> list[Path]:
    """Those of a folder, from whatever number of shards."""
    return sorted(output.glob("manifest*.json")) if items and items[0].root is not None else []


def _done(items: Sequence[Item], manifest: Manifest, kinds: Sequence[str]) -> list[Item]:
    """What earlier runs have made, from these inputs with these settings.

    Raises:
        UserError: something else is in place, which a run must neither replace nor pass off as its own.
    """
    manifest.refuse_other_work(item.stem for item in items)
    there = []
    for item in items:
        if not any(item.stem in items for items in manifest.items):
            found = [item.output(kind) for kind in kinds if item.output(kind).exists()]
            if found and not manifest.path.is_file():
                raise UserError(f"{found[0]}: is there already: choose another --output, or --overwrite")
            continue
        try:
            inputs = HashedReads(images.read_file)
            inputs(item.visible), inputs(item.infrared)
        except UserError:
            continue  # told when its turn comes
        if manifest.has(item.stem, [item.name(kind) for kind in kinds], inputs.sha256()):
            there.append(item)
    return there
