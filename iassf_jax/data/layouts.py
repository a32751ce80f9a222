"""Find the image pairs of a data set on disk, split them, and list what cannot be used.

`LAYOUTS` names the folders of each layout; their case does not matter, and folders `hazy` and `depth` may stand beside
them. The layout `auto` takes whichever is there, `folders` takes any folders that the caller gives.
Each is looked for in `root/train`, `root/val`, `root/test` and in `root` itself. What a split then means:

- `root/split.json` beside the image folders decides by its lists of stems; without a list `test`, test is val.
- Split folders: test is `test`. Val is `val` if it exists, else a part held out of `train`, never of `test`.
- Neither: train and val by the same holding out, and test is all of val.
- `all` is every pair there is.

What is held out depends on each stem alone (a hash), so it is the same in every run and on every machine.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from iassf_jax.data.images import IMAGE_SUFFIXES, PathLike, image_size, open_npy, read_image
from iassf_jax.data.names import composed
from iassf_jax.errors import UserError

SPLITS = ("train", "val", "test")
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "iassf": {"visible": ("GT",), "infrared": ("IR",)},
    "msrs": {"visible": ("vi",), "infrared": ("ir",)},
    "roadscene": {"visible": ("crop_LR_visible", "crop_HR_visible"), "infrared": ("cropinfrared",)},
    "m3fd": {"visible": ("Vis",), "infrared": ("Ir",)},
    "plain": {"visible": ("visible",), "infrared": ("infrared",)},
}
LAYOUT_NAMES = ("auto", *LAYOUTS, "folders")
_REQUIRED = ("visible", "infrared")
_OPTIONAL = ("hazy", "depth")
_SOURCES = {
    "iassf": "the triplets are at https://github.com/fangjiaqi0909/IASSF",
    "msrs": "MSRS is at https://github.com/Linfeng-Tang/MSRS",
    "roadscene": "RoadScene is at https://github.com/hanna-xu/RoadScene",
    "m3fd": "M3FD is at https://github.com/JinyuanLiu-CV/TarDAL",
}

Folders = dict[str, Path]  # role (visible, infrared, hazy, depth) -> folder


@dataclass(frozen=True)
class Pair:
    """The files of one scene: `visible` is the clear image, `hazy` the same view with haze, all of one size."""

    stem: str
    visible: str
    infrared: str
    hazy: str | None = None
    depth: str | None = None

    def files(self) -> dict[str, str]:
        """Role -> path of the files that this pair has."""
        return {role: path for role in (*_REQUIRED, *_OPTIONAL) if (path := getattr(self, role)) is not None}


@dataclass(frozen=True)
class Problem:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class PairList:
    """The usable pairs, sorted by stem, and what had to be left out."""

    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...]


@dataclass
class _Scan:
    """What the folders hold, by stem, before any file is opened."""

    pairs: dict[str, Pair] = field(default_factory=dict)
    problems: dict[str, list[Problem]] = field(default_factory=dict)

    def only(self, stems: Collection[str]) -> "_Scan":
        return _Scan(*({stem: found[stem] for stem in found if stem in stems} for found in (self.pairs, self.problems)))


def format_problems(problems: Iterable[Problem]) -> str:
    """The problems as text, file and reason a line."""
    return "\n".join(f"{problem.path}: {problem.reason}" for problem in problems)


def problem_from(path: PathLike, error: UserError) -> Problem:
    """The Problem for an error about `path`, whose message begins with that path."""
    return Problem(str(path), str(error).removeprefix(f"{path}: "))


def _names(folder: PathLike, of_folders: bool) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() == of_folders)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}): check it and its permissions") from None


def list_images(folder: PathLike, suffixes: Collection[str] = IMAGE_SUFFIXES) -> dict[str, list[str]]:
    """Lists the image files of one folder.

    Args:
        folder: the folder; its sub-folders are not entered.
        suffixes: lower-case suffixes to accept, in any case. Hidden and other files are passed over.

    Returns:
        stem (`composed`) -> paths, sorted; more than one path means that a stem occurs twice.

    Raises:
        UserError: the folder cannot be listed.
    """
    found: dict[str, list[str]] = {}
    for name in _names(folder, of_folders=False):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes and not name.startswith("."):
            found.setdefault(composed(stem), []).append(os.path.join(folder, name))
    return found


def doubled(paths: list[str]) -> Problem:
    """The Problem of several files with one stem in one folder."""
    others = ", ".join(os.path.basename(path) for path in paths[1:])
    return Problem(paths[0], f"has the same stem as {others} in the same folder: keep one of them")


def _size(path: str) -> tuple[int, int]:
    return open_npy(path).shape if path.lower().endswith(".npy") else image_size(path)


def _check_pair(pair: Pair, verify: bool) -> list[Problem]:
    """What is wrong with the files of one pair: unreadable, of another size, or (verify) not decodable."""
    problems, sizes = [], {}
    for role, path in pair.files().items():
        try:
            sizes[role] = _size(path)
            if verify and not path.lower().endswith(".npy"):
                read_image(path)
        except UserError as error:
            problems.append(problem_from(path, error))
    expected = sizes.pop("visible", None)
    for role, (height, width) in sizes.items():
        if expected is not None and (height, width) != expected:
            reason = f"is {width} x {height}, but its visible image is {expected[1]} x {expected[0]}: {pair.visible}"
            problems.append(Problem(pair.files()[role], reason))
    return problems


def _scan(folders: Folders) -> _Scan:
    suffixes = {"depth": (*IMAGE_SUFFIXES, ".npy")}
    listed = {role: list_images(folder, suffixes.get(role, IMAGE_SUFFIXES)) for role, folder in folders.items()}
    scan = _Scan()
    for stem in sorted(set().union(*listed.values())):
        files = {role: listed[role].get(stem, []) for role in folders}
        present = [paths[0] for paths in files.values() if paths]
        twice = [doubled(paths) for paths in files.values() if len(paths) > 1]
        missing = [str(folders[role]) for role, paths in files.items() if not paths]
        if twice:
            scan.problems[stem] = twice
        elif missing:
            scan.problems[stem] = [Problem(present[0], f"has no partner '{stem}' in {' and '.join(missing)}")]
        else:
            scan.pairs[stem] = Pair(stem, **{role: paths[0] for role, paths in files.items()})
    return scan


def _child(base: Path, names: Iterable[str]) -> Path | None:
    """The first sub-folder with one of the names, an exact match before one in another case."""
    there = _names(base, of_folders=True)
    for name in names:
        found = [name] if name in there else [other for other in there if other.lower() == name.lower()]
        if found:
            return base / found[0]
    return None


def _locate_named(base: Path, layout: str) -> Folders | None:
    wanted = {**LAYOUTS[layout], **{role: (role,) for role in _OPTIONAL}}
    folders = {role: found for role, names in wanted.items() if (found := _child(base, names))}
    return folders if all(role in folders for role in _REQUIRED) else None


def _locate_auto(base: Path) -> Folders | None:
    found = {name: folders for name in LAYOUTS if (folders := _locate_named(base, name))}
    if len(found) > 1:
        raise UserError(f"{base}: fits the layouts {' and '.join(found)}: say which one with layout=")
    return next(iter(found.values()), None)


def _locate_given(root: Path, folders: Mapping[str, str], split: str) -> Folders | None:
    """The caller's folders for one split, or for the root itself (split '')."""
    with_split = any("{split}" in path for path in folders.values())
    base = root if with_split else root / split
    found = {role: base / path.replace("{split}", split) for role, path in folders.items()}
    # An absolute folder without {split} is the same for every split: it would put one image into two of them.
    one_for_all = not with_split and any(Path(path).is_absolute() for path in folders.values())
    if (split and one_for_all) or (with_split and not split) or not all(found[role].is_dir() for role in _REQUIRED):
        return None
    for role, folder in found.items():
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder, but it is given as '{role}': correct it or leave it out")
    return found


def _nothing_found(root: Path, layout: str, folders: Mapping[str, str] | None) -> UserError:
    if folders:
        looked = " + ".join(folders[role] for role in _REQUIRED)
        return UserError(f"{root}: found no {looked} there (nor in train, val, test): correct folders=")
    names = LAYOUTS if layout == "auto" else [layout]
    looked = ", ".join(" + ".join(LAYOUTS[name][role][0] for role in _REQUIRED) for name in names)
    return UserError(
        f"{root}: found none of the folders {looked}, neither there nor in train, val, test: name them with "
        f"--config.data.folders.visible=... --config.data.folders.infrared=...{_where_to_get(root, layout)}"
    )


def _where_to_get(root: Path, layout: str) -> str:
    known = [source for name, source in _SOURCES.items() if name in f"{layout} {root.name}".lower()]
    return f", or get the data: {known[0]}" if known else ""


def _find_sources(root: Path, layout: str, folders: Mapping[str, str] | None) -> dict[str, Folders]:
    """Split -> folders, where the split '' stands for folders directly in the root."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder: correct the data root{_where_to_get(root, layout)}")
    sources = {}
    for split in (*SPLITS, ""):
        if folders is not None:
            located = _locate_given(root, folders, split)
        else:
            base = _child(root, [split]) if split else root
            located = base and (_locate_auto(base) if layout == "auto" else _locate_named(base, layout))
        if located:
            sources[split] = located
    if not sources:
        raise _nothing_found(root, layout, folders)
    return sources


def _rank(stem: str) -> float:
    """A number in 0..1 that depends on the stem alone (Python's own hash() changes from run to run)."""
    digest = hashlib.blake2b(stem.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _hold_out(scan: _Scan, part: str, fraction: float) -> _Scan:
    """The `train` or `val` part of a scan. Of two or more good pairs, each part gets at least one."""
    held = {stem for stem in (*scan.pairs, *scan.problems) if _rank(stem) < fraction}
    if fraction > 0:
        order = sorted(scan.pairs, key=lambda stem: (_rank(stem), stem))
        # Fully decoded whatever `verify` says: two calls that differ in it must hold out the same stems.
        first = next((stem for stem in order if not _check_pair(scan.pairs[stem], verify=True)), None)
        last = next((stem for stem in reversed(order) if not _check_pair(scan.pairs[stem], verify=True)), None)
        if first is not None and last is not None:
            held = (held | {first}) - {last}
    return scan.only(held if part == "val" else {*scan.pairs, *scan.problems} - held)


def _read_split_file(path: Path) -> dict[str, list[str]]:
    expected = 'it must hold {"train": [stems], "val": [stems]}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        lists = {split: content[split] for split in SPLITS if content.get(split)}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: cannot be used ({error}): {expected}") from None
    for split, stems in lists.items():
        if not isinstance(stems, list) or not all(isinstance(stem, str) for stem in stems):
            raise UserError(f"{path}: '{split}' is no list of stems: {expected}")
        lists[split] = [composed(stem) for stem in stems]
    counts = Counter(stem for stems in lists.values() for stem in set(stems))
    shared = sorted(stem for stem in counts if counts[stem] > 1)
    if shared:
        raise UserError(f"{path}: lists '{shared[0]}' for two splits ({len(shared)} such stems): keep each in one")
    return lists


def _listed_parts(scan: _Scan, path: Path) -> dict[str, _Scan]:
    lists = _read_split_file(path)
    for name, stems in lists.items():
        for stem in {*stems} - {*scan.pairs, *scan.problems}:
            scan.problems[stem] = [Problem(str(path), f"lists '{stem}' for {name}, but no folder has it")]
    unlisted = {*scan.pairs, *scan.problems}.difference(*lists.values())
    return {name: scan.only(set(stems)) for name, stems in {**lists, "unlisted": unlisted}.items()}


def _parts(root: Path, sources: Mapping[str, Folders]) -> dict[str, _Scan]:
    """Split -> what the data set itself puts there. No split at all counts as train, for val to be held out of."""
    split_file = root / "split.json"
    if split_file.is_file():
        if "" not in sources:
            raise UserError(f"{split_file}: its image folders are not beside it but in split folders: remove it")
        return _listed_parts(_scan(sources[""]), split_file)
    if len(sources) == 1 and "" in sources:
        return {"train": _scan(sources[""])}
    if "" in sources:
        there = ", ".join(split for split in sources if split)
        raise UserError(f"{root}: has image folders both directly in it and in {there}: move the former into train")
    return {split: _scan(folders) for split, folders in sources.items()}


def _merge(parts: Mapping[str, _Scan]) -> _Scan:
    """All splits together; a stem that several of them use gets the name of its split in front."""
    counts = Counter(stem for scan in parts.values() for stem in scan.pairs)
    merged = _Scan()
    for split, scan in parts.items():
        for stem, pair in scan.pairs.items():
            name = stem if counts[stem] == 1 else f"{split}_{stem}"
            merged.pairs[name] = replace(pair, stem=name)
        for stem, problems in scan.problems.items():
            merged.problems.setdefault(stem, []).extend(problems)
    return merged


def _choose(root: Path, parts: Mapping[str, _Scan], split: str, fraction: float) -> _Scan:
    if split == "all":
        return _merge(parts)
    if split == "test" and "test" not in parts:
        split = "val"
    if split in parts and (split != "train" or "val" in parts):
        return parts[split]
    if "train" not in parts:
        raise UserError(f"{root}: has no train to take '{split}' from, only {', '.join(parts)}: add it, or use 'all'")
    return _hold_out(parts["train"], split, fraction)


def _check_arguments(layout: str, split: str, folders: Mapping[str, str] | None, fraction: float) -> None:
    if layout not in LAYOUT_NAMES:
        raise UserError(f"unknown layout '{layout}': use one of {', '.join(LAYOUT_NAMES)}")
    if split not in (*SPLITS, "all"):
        raise UserError(f"unknown split '{split}': use one of {', '.join(SPLITS)}, all")
    if not 0 <= fraction < 1:
        raise UserError(f"val_fraction is {fraction}: use a number from 0 up to, but not including, 1")
    if folders is None and layout == "folders":
        raise UserError("layout 'folders' needs folders: pass {'visible': path, 'infrared': path}")
    if folders is not None and layout not in ("auto", "folders"):
        raise UserError(f"folders given with the layout '{layout}': use layout='folders', or leave folders out")
    wrong = folders is not None and {*folders} - {*_REQUIRED, *_OPTIONAL} | {*_REQUIRED} - {*folders}
    if wrong:
        raise UserError(f"folders: '{min(wrong)}' is unknown or missing: give visible, infrared and maybe hazy, depth")


def find_pairs(
    root: PathLike,
    layout: str = "auto",
    split: str = "train",
    folders: Mapping[str, str] | None = None,
    verify: bool = True,
    val_fraction: float = 0.1,
) -> PairList:
    """Finds the visible + infrared pairs of one split (see the head of this file for layouts and splits).

    Files are paired by their stem, case-sensitively; suffixes and Unicode forms may differ. What has no partner, has
    another size than its visible image, or does not decode becomes a `Problem` and is left out; so does a scene without
    a hazy (or depth) file where there is a folder for it.

    Args:
        root: the folder of the data set.
        layout: a name from `LAYOUT_NAMES`.
        split: `train`, `val`, `test` or `all`. In `all`, a stem used by several split folders is named `train_STEM`.
        folders: for the layout `folders`: `visible`, `infrared` and maybe `hazy`, `depth` -> path, absolute or
            relative to `root`; `{split}` in it stands for train, val and test.
        verify: decode every file (in threads). If false, only sizes are compared, from the headers.
        val_fraction: part of the stems to hold out where val has no folder or list of its own, 0 <= x < 1.

    Returns:
        The pairs, sorted by stem, and the problems.

    Raises:
        UserError: nothing found, a wrong setting, a damaged split.json, or not one good pair.
    """
    _check_arguments(layout, split, folders, val_fraction)
    root = Path(root)
    scan = _choose(root, _parts(root, _find_sources(root, layout, folders)), split, val_fraction)
    stems = sorted(scan.pairs)
    check = partial(_check_pair, verify=verify)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        checks = dict(zip(stems, pool.map(check, map(scan.pairs.__getitem__, stems)), strict=True))
    both = [(stem, by_stem[stem]) for by_stem in (scan.problems, checks) for stem in by_stem]
    problems = [problem for _, found in sorted(both, key=lambda item: item[0]) for problem in found]
    pairs = tuple(scan.pairs[stem] for stem in stems if not checks[stem])
    if not pairs:
        shown = "; ".join(format_problems([problem]) for problem in problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        reason = shown + more or "nothing was held out or listed for it: raise val_fraction, or use split='all'"
        raise UserError(f"{root}: not one good pair for the split '{split}': {reason}")
    return PairList(pairs, tuple(problems))
