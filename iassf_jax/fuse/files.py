"""Fusing image files: a pair, two folders, or two globs, resumable, with a manifest of what was made how."""

import dataclasses
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
from iassf_jax.fuse.fuser import Fuser, Result
from iassf_jax.fuse.manifest import Manifest
from iassf_jax.fuse.pairs import NO_AFFIXES, Affixes, Item, find_items
from iassf_jax.fuse.prepare import DEFAULT, Preparation, Prepared
from iassf_jax.fuse.reading import check_orient, read_pair
from iassf_jax.fuse.strengths import FULL, Strengths
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
        UserError: nothing to do, an input that would be overwritten, or an output of other settings.
    """
    items, problems = find_items(visible, infrared, Path(output), options.affixes)
    index, count = options.shard
    items = items[index - 1 :: count]
    path = _manifest_path(items, Path(output), options.shard)
    manifest = Manifest(path, _about(fuser, options), _shard_manifests(items, Path(output)))
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
            made[item.stem], said = outcome
            notes += [(item, note) for note in said]
        progress(len(there) + done, len(items))
        manifest.write(made, problems)
    if not (made or there) and items and items[0].root is None:
        path.unlink()  # nothing stands beside it that it could tell about
    return Outcome([item for item in todo if item.stem in made], there, problems, notes)


def _run(fuser: Fuser, items: Sequence[Item], options: Options) -> Iterator[tuple[Item, _Made | UserError]]:
    """Fuses pairs in their order, each with its record or what was wrong; reads ahead and writes behind, in threads."""
    with ThreadPoolExecutor(_READ_AHEAD + 1) as pool:
        reading: list[Future] = [pool.submit(_read, item, options) for item in items[:_READ_AHEAD]]
        writing: tuple[Item, Future] | None = None
        for i, item in enumerate(items):
            if i + _READ_AHEAD < len(items):
                reading.append(pool.submit(_read, items[i + _READ_AHEAD], options))
            try:
                pair = reading[i].result()
                reading[i] = None
                written = pool.submit(_write, item, options.save, *pair, _fuse(fuser, pair[0], options.strengths))
            except UserError as error:
                written = Future()
                written.set_exception(error)
            if writing:
                yield writing[0], _outcome(writing[1])
            writing = item, written
        if writing:
            yield writing[0], _outcome(writing[1])


def _outcome(future: Future) -> _Made | UserError:
    try:
        return future.result()
    except UserError as error:
        return error


def _read(item: Item, options: Options) -> tuple[Prepared, list[Note]]:
    notes: list[Note] = []
    pair = read_pair(item.visible, item.infrared, options.orient, options.damaged, notes)
    try:
        return prepare_placed(*pair, options.preparation, options.placing, notes), notes
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


def _write(item: Item, save: Iterable[str], pair: Prepared, notes: list[Note], result: Result) -> _Made:
    """Writes the images, the fused one last: where it is, the others are. Gives the manifest's record."""
    for kind in save:
        if kind == "dehazed":
            images.write_image(item.output(kind), result.dehazed)
        elif kind == "haze" and result.haze_density is not None:
            images.write_image(item.output(kind), np.rint(255 * np.clip(result.haze_density, 0, 1)).astype(np.uint8))
        elif kind == "panel":
            images.write_image(item.output(kind), panel(pair.visible, pair.infrared, result))
    images.write_image(item.target, result.fused)
    files = {"visible": item.visible, "infrared": item.infrared, "fused": str(item.target)}
    said = {"notes": [str(note) for note in notes]} if notes else {}
    return files | {"inputs_sha256": _hash(item)} | said, notes


def panel(visible: np.ndarray, infrared: np.ndarray, result: Result, height: int = 360) -> np.ndarray:
    """Hazy, infrared, haze density, dehazed and fused side by side: uint8[height + header, W, 3]."""
    shown = {"hazy": visible, "infrared": infrared, "dehazed": result.dehazed, "fused": result.fused}
    shown = {name: images.to_uint8(images.to_signed(x)) for name, x in shown.items()}
    if result.haze_density is not None:
        shown["haze_density"] = result.haze_density
    return sample_grid([shown], height, ("hazy", "infrared", "haze density", "dehazed", "fused"))


def _about(fuser: Fuser, options: Options) -> dict[str, Any]:
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


def _hash(item: Item) -> str:
    """Of both input files: the same names may hold other images, and the same images may have moved."""
    digest = hashlib.sha256()
    for path in (item.visible, item.infrared):
        try:
            digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}): check its permissions") from None
    return digest.hexdigest()


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
        files = [item.output(kind) for kind in kinds]
        record = manifest.items.get(item.stem)
        if record is None and not manifest.path.is_file() and (found := [file for file in files if file.exists()]):
            raise UserError(f"{found[0]}: is there already: choose another --output, or --overwrite")
        if record is None or not all(file.is_file() for file in files):
            continue
        try:
            inputs = _hash(item)
        except UserError:
            continue  # told when its turn comes
        if record.get("inputs_sha256", "") != inputs:
            raise UserError(f"{item.target}: was made from other images: choose another --output, or --overwrite")
        there.append(item)
    return there
