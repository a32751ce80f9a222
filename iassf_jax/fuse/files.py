"""Fusing image files: a pair, two folders, or two globs, resumable, with a manifest of what was made how."""

import dataclasses
import glob
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from iassf_jax import __version__
from iassf_jax.align.placing import Placing, placed_pair
from iassf_jax.data import images
from iassf_jax.data.images import IMAGE_SUFFIXES
from iassf_jax.data.layouts import Problem, doubled, list_images, problem_from
from iassf_jax.errors import UserError
from iassf_jax.fuse.fuser import Fuser, Percentiles, Result, check_percentiles, prepare_pair
from iassf_jax.fuse.manifest import Manifest
from iassf_jax.fuse.strengths import FULL, Strengths
from iassf_jax.report.pictures import sample_grid

EXTRAS = ("dehazed", "haze", "panel")
_READ_AHEAD = 2  # pairs; decoding is as slow as the network on a GPU


@dataclasses.dataclass(frozen=True)
class Options:
    """How pairs are fused and what is kept.

    Attributes:
        save: of `EXTRAS`: the dehazed image, the haze density (grey, 0..255 for 0..1), a panel of all images.
        resize_infrared, infrared_percentiles: as `Fuser` takes them.
        strengths: how much haze is taken off, and how much infrared is added.
        shard: (i, n): only every n-th pair, from the i-th; i is 1 to n.
        overwrite: makes anew what is there.
        placing: how infrared images lie in visible ones; None: pixel on pixel.
    """

    save: tuple[str, ...] = ()
    resize_infrared: bool = False
    infrared_percentiles: Percentiles | None = None
    strengths: Strengths = FULL
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    placing: Placing | None = None


@dataclasses.dataclass(frozen=True)
class Item:
    """One pair: the stem of its results, its files, and the path of the fused image."""

    stem: str
    visible: str
    infrared: str
    target: Path
    in_folder: bool

    def output(self, kind: str) -> Path:
        """Where the image of a kind ("fused" or one of `EXTRAS`) goes."""
        if kind == "fused":
            return self.target
        if self.in_folder:
            return self.target.parent / kind / self.target.name
        return self.target.with_name(f"{self.target.stem}_{kind}.png")


def fuse_files(
    fuser: Fuser,
    visible: str,
    infrared: str,
    output: str | Path,
    options: Options,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Item], list[Item], list[Problem]]:
    """Fuses image files. What a run with the same settings has made already is passed over.

    Args:
        fuser: the network.
        visible: a file, a folder, or a glob in quotes.
        infrared: the same; in folders and globs, partners have the same stem.
        output: a folder, for `STEM.png` and `manifest.json`; or, for two files, an image file.
        options: how.
        progress: called with the number of finished pairs and of all.

    Returns:
        The pairs that were made, those that were there, and what had to be left out.

    Raises:
        UserError: nothing to do, an input that would be overwritten, or an output of other settings.
    """
    if options.infrared_percentiles is not None:
        check_percentiles(options.infrared_percentiles)
    items, problems = find_items(visible, infrared, Path(output))
    index, count = options.shard
    items = items[index - 1 :: count]
    path = _manifest_path(items, Path(output), options.shard)
    manifest = Manifest(path, _about(fuser, options), _shard_manifests(items, Path(output)))
    there = [] if options.overwrite else _done(items, manifest, ("fused", *options.save))
    known = set(there)
    todo = [item for item in items if item not in known]
    manifest.write({}, problems)
    made: dict[str, dict[str, str]] = {}
    for done, (item, outcome) in enumerate(_run(fuser, todo, options), 1):
        if isinstance(outcome, UserError):
            problems.append(problem_from(item.visible, outcome))
        else:
            made[item.stem] = outcome
        progress(len(there) + done, len(items))
        manifest.write(made, problems)
    if not (made or there) and items and not items[0].in_folder:
        path.unlink()  # nothing stands beside it that it could tell about
    return [item for item in todo if item.stem in made], there, problems


def find_items(visible: str, infrared: str, output: Path) -> tuple[list[Item], list[Problem]]:
    """The pairs that two paths mean, sorted by stem, and what has no partner; see `fuse_files`."""
    sides = [_files(path) for path in (visible, infrared)]
    if all(alone for _, alone in sides):
        (stem,), (found_visible, found_infrared) = sides[0][0], (next(iter(files.values()))[0] for files, _ in sides)
        is_file = output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir()
        if output.suffix and not is_file and not output.is_dir():
            raise UserError(f"{output}: '{output.suffix}' is no image format: use one of {' '.join(IMAGE_SUFFIXES)}")
        target = output if is_file else output / f"{stem}.png"
        items, problems = [Item(target.stem, found_visible, found_infrared, target, not is_file)], []
    else:
        if output.suffix.lower() in IMAGE_SUFFIXES:
            raise UserError(f"{output}: several pairs need a folder: give --output without a suffix")
        items, problems = _partners(*(files for files, _ in sides), output)
    inputs = {Path(path).resolve() for item in items for path in (item.visible, item.infrared)}
    if any(item.in_folder and item.target.parent.resolve() in {path.parent for path in inputs} for item in items):
        raise UserError(
            f"{output}: is a folder of inputs, the next run would take the results for some: choose another"
        )
    for item in items:
        for kind in ("fused", *EXTRAS):
            if item.output(kind).resolve() in inputs:
                raise UserError(f"{item.output(kind)}: is an input and would be overwritten: choose another --output")
    if not items:
        raise UserError(f"{visible} and {infrared}: no image has a partner of the same stem: name pairs alike")
    return items, problems


def _files(path: str) -> tuple[dict[str, list[str]], bool]:
    """Stem -> files that a path means, and whether it names one file."""
    try:
        if Path(path).is_dir():
            return list_images(path), False
        if Path(path).exists():
            return {Path(path).stem: [path]}, True
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check its name and permissions") from None
    if not glob.has_magic(path):
        raise UserError(f"{path}: is not there: give an image, a folder of images, or a glob in quotes")
    found: dict[str, list[str]] = {}
    for name in sorted(glob.glob(path, recursive=True)):
        if Path(name).suffix.lower() in IMAGE_SUFFIXES and Path(name).is_file():
            found.setdefault(Path(name).stem, []).append(name)
    if not found:
        raise UserError(f"{path}: matches no image: check the folder and the quotes")
    return found, False


def _partners(
    visible: Mapping[str, list[str]], infrared: Mapping[str, list[str]], output: Path
) -> tuple[list[Item], list[Problem]]:
    items, problems = [], []
    for stem in sorted(visible.keys() | infrared.keys()):
        sides = [files.get(stem, []) for files in (visible, infrared)]
        many = [doubled(files) for files in sides if len(files) > 1]
        if not all(sides):
            there, lacking = ("visible", "infrared") if sides[0] else ("infrared", "visible")
            files = sides[0] or sides[1]
            problems.append(Problem(files[0], f"is {there} and has no {lacking} partner: name it alike, or remove it"))
        elif many:
            problems += many
        else:
            items.append(Item(stem, sides[0][0], sides[1][0], output / f"{stem}.png", True))
    return items, problems


def _run(fuser: Fuser, items: Sequence[Item], options: Options) -> Iterator[tuple[Item, dict[str, str] | UserError]]:
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
                result = _fuse(fuser, pair, options.strengths)
                written = pool.submit(_write, item, options.save, *pair, result)
            except UserError as error:
                written = Future()
                written.set_exception(error)
            if writing:
                yield writing[0], _outcome(writing[1])
            writing = item, written
        if writing:
            yield writing[0], _outcome(writing[1])


def _outcome(future: Future) -> dict[str, str] | UserError:
    try:
        return future.result()
    except UserError as error:
        return error


def _read(item: Item, options: Options) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    pair = images.read_visible(item.visible), images.read_infrared(item.infrared)
    try:
        *pair, weight = placed_pair(*pair, options.placing)
        pair = prepare_pair(
            *pair, resize_infrared=options.resize_infrared, infrared_percentiles=options.infrared_percentiles
        )
    except UserError as error:
        raise UserError(f"{item.visible}: {error}") from None
    return *pair, weight


def _fuse(fuser: Fuser, pair: tuple[np.ndarray, np.ndarray, np.ndarray | None], strengths: Strengths) -> Result:
    *pair, weight = pair
    try:
        return fuser.fuse_prepared(*pair, strengths, weight)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "memory" not in str(error).lower():
            raise
        size = f"{pair[0].shape[1]} x {pair[0].shape[0]}"
        raise UserError(f"{size} pixels do not fit into the device's memory: lower --max-tile") from None


def _write(
    item: Item, save: Iterable[str], visible: np.ndarray, infrared: np.ndarray, _: np.ndarray | None, result: Result
) -> dict[str, str]:
    """Writes the images, the fused one last: where it is, the others are. Gives the manifest's record."""
    for kind in save:
        if kind == "dehazed":
            images.write_image(item.output(kind), result.dehazed)
        elif kind == "haze" and result.haze_density is not None:
            images.write_image(item.output(kind), np.rint(255 * np.clip(result.haze_density, 0, 1)).astype(np.uint8))
        elif kind == "panel":
            images.write_image(item.output(kind), panel(visible, infrared, result))
    images.write_image(item.target, result.fused)
    files = {"visible": item.visible, "infrared": item.infrared, "fused": str(item.target)}
    return files | {"inputs_sha256": _hash(item)}


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
            "resize_infrared": options.resize_infrared,
            "infrared_percentiles": options.infrared_percentiles and list(options.infrared_percentiles),
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
    if items and not items[0].in_folder:
        return items[0].target.with_name(f"{items[0].target.stem}_manifest.json")
    return output / ("manifest.json" if shard[1] == 1 else f"manifest-{shard[0]}-of-{shard[1]}.json")


def _shard_manifests(items: Sequence[Item], output: Path) -> list[Path]:
    """Those of a folder, from whatever number of shards."""
    return sorted(output.glob("manifest*.json")) if items and items[0].in_folder else []


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
