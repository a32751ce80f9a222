"""Which files make pairs, and where their results go: two files, folders, or globs."""

import dataclasses
import glob
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from iassf_jax.data.images import IMAGE_SUFFIXES
from iassf_jax.data.layouts import Problem, list_images
from iassf_jax.data.names import composed
from iassf_jax.errors import UserError

EXTRAS = ("dehazed", "haze", "panel")
_TOKEN = re.compile(r"\*|\?|\[(!?)(\]?[^\]]*)\]|(.)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Affixes:
    """What stands before or after the names that partners share; files without it are passed over."""

    visible_prefix: str = ""
    visible_suffix: str = ""
    infrared_prefix: str = ""
    infrared_suffix: str = ""

    def of(self, side: str) -> tuple[str, str]:
        """Prefix and suffix of "visible" or "infrared"."""
        return getattr(self, f"{side}_prefix"), getattr(self, f"{side}_suffix")


NO_AFFIXES = Affixes()


@dataclasses.dataclass(frozen=True)
class Item:
    """One pair: the name of its results, its files, the path of the fused image, and the folder of all results.

    `root` is None where the result is a file of its own.
    """

    stem: str
    visible: str
    infrared: str
    target: Path
    root: Path | None

    def output(self, kind: str) -> Path:
        """Where the image of a kind ("fused" or one of `EXTRAS`) goes."""
        if kind == "fused":
            return self.target
        if self.root is not None:
            return self.root / kind / self.target.relative_to(self.root)
        return self.target.with_name(f"{self.target.stem}_{kind}.png")

    def name(self, kind: str) -> str:
        """The same, by the way from the folder of the manifest."""
        return str(self.output(kind).relative_to(self.root or self.target.parent))


@dataclasses.dataclass(frozen=True)
class _File:
    """`name`: what its partner is called too; `open`: what a glob leaves open in its path, or None; `tree`: of that the
    folders."""

    path: str
    name: str
    open: tuple[str, ...] | None
    tree: str = ""


def find_items(
    visible: str, infrared: str, output: Path | None, affixes: Affixes = NO_AFFIXES
) -> tuple[list[Item], list[Problem]]:
    """The pairs that two paths mean, sorted by name, and what has no partner.

    Args:
        visible: a file, a folder, or a glob. Partners agree in what two globs leave open (`*`, `?`, `[ab]`, and `**`
            for any folders); where that pairs nothing, and in folders, in their names without suffix.
        infrared: the same.
        output: a folder; or, for two files, an image file. Folders that globs leave open are made again there.
            None: nothing will be written, and targets mean nothing.
        affixes: of the names.

    Raises:
        UserError: nothing to do, an input that would be overwritten, or an output that cannot be.
    """
    is_written = output is not None
    output = Path() if output is None else output
    if os.path.isfile(visible) and os.path.isfile(infrared):
        items, problems = [_single(visible, infrared, output)], []
    else:
        sides = [_files(path, *affixes.of(side)) for side, path in (("visible", visible), ("infrared", infrared))]
        if output.suffix.lower() in IMAGE_SUFFIXES:
            if one := [path for path in (visible, infrared) if os.path.isfile(path)]:
                raise UserError(
                    f"{one[0]} is one image, and the other input a folder or a glob: name its partner, or give an "
                    "--output without a suffix"
                )
            raise UserError(f"{output}: several pairs need a folder: give --output without a suffix")
        items, problems = _partners(*sides, output)
        if not items:
            names = " and ".join(f"'{files[0].name}'" for files in sides)
            raise UserError(
                f"{visible} and {infrared}: no visible and infrared image share a name, the first are called {names}: "
                "name the two of a pair alike, or say what differs with --visible-suffix, --infrared-suffix, "
                "--visible-prefix and --infrared-prefix"
            )
    if is_written:
        _check_inputs_stay(items, output)
    return items, problems


def _single(visible: str, infrared: str, output: Path) -> Item:
    is_file = output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir()
    if output.suffix and not is_file and not output.is_dir():
        raise UserError(f"{output}: '{output.suffix}' is no image format: use one of {' '.join(IMAGE_SUFFIXES)}")
    target = output if is_file else output / f"{Path(visible).stem}.png"
    return Item(target.stem, visible, infrared, target, None if is_file else output)


def _check_inputs_stay(items: Sequence[Item], output: Path) -> None:
    inputs = {Path(path).resolve() for item in items for path in (item.visible, item.infrared)}
    folders = {path.parent for path in inputs}
    if any(item.root is not None and item.target.parent.resolve() in folders for item in items):
        raise UserError(
            f"{output}: is a folder of inputs, the next run would take the results for some: choose another"
        )
    for item in items:
        for kind in ("fused", *EXTRAS):
            if item.output(kind).resolve() in inputs:
                raise UserError(f"{item.output(kind)}: is an input and would be overwritten: choose another --output")


def _files(path: str, prefix: str, suffix: str) -> list[_File]:
    """The image files that a path means, sorted, and what is open in their names; at least one."""
    try:
        if Path(path).is_dir():
            found = sorted(name for names in list_images(path).values() for name in names)
            expression = re.compile(re.escape(path.rstrip("/")) + "/+(?P<name0>[^/]*)", re.DOTALL)
        elif Path(path).exists():
            found, expression = [path], re.compile("")
        elif not glob.has_magic(path):
            raise UserError(
                f"{path}: there is no such file or folder: give an image, a folder of images, or a glob in quotes"
            )
        else:
            found, expression = sorted(glob.glob(path, recursive=True)), _expression(path)
            found = [name for name in found if Path(name).suffix.lower() in IMAGE_SUFFIXES and Path(name).is_file()]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check its name and permissions") from None
    files = [_file(name, prefix, suffix, expression) for name in found]
    if not found:
        raise UserError(f"{path}: matches no image: check the folder and the quotes")
    if not any(files):
        raise UserError(f"{path}: no image has a name of the form '{prefix}NAME{suffix}': correct the prefix or suffix")
    return [file for file in files if file]


def _file(path: str, prefix: str, suffix: str, expression: re.Pattern[str]) -> _File | None:
    """None if the name lacks the prefix or suffix."""
    stem = os.path.splitext(os.path.basename(path))[0]
    bare = stem.removeprefix(prefix).removesuffix(suffix)
    if not bare or len(bare) + len(prefix) + len(suffix) != len(stem):
        return None
    matched = expression.fullmatch(os.path.splitext(path)[0])
    if matched is None:
        return _File(path, composed(bare), None)
    groups = {name: composed(text.strip("/")) for name, text in matched.groupdict().items()}
    folders = [text for name, text in groups.items() if name.startswith("folder")]
    names = [text for name, text in groups.items() if name.startswith("name")]
    if names and (prefix or suffix):
        names = [composed(bare)]
    return _File(path, composed(bare), (*folders, *names), "/".join(filter(None, folders)))


def _expression(pattern: str) -> re.Pattern[str]:
    """A glob, without the suffix of the files, as an expression; its open parts are groups `folder0`, `name0`, ..."""
    *folders, name = re.split("/+", pattern)
    if name == "**":
        folders, name = [*folders, "**"], "*"
    expression = ""
    for i, folder in enumerate(folders):
        whole = f"(?P<folder{i}>(?:[^/]+/+)*)" if folder == "**" else _opened(folder, f"folder{i}_") + "/+"
        expression += whole
    return re.compile(expression + _opened(os.path.splitext(name)[0], "name"), re.DOTALL)


def _opened(part: str, group: str) -> str:
    """One part of a path; wild cards beside each other are one group."""
    found: list[tuple[bool, str]] = []
    for token in _TOKEN.finditer(part):
        negated, among, letter = token.groups()
        letter = among if among and len(among) == 1 and not negated else letter  # [*] is how a star is written
        if letter:
            found.append((False, re.escape(letter)))
        elif among:
            letters = re.sub(r"([\\^\[])", r"\\\1", among)
            found.append((True, f"[{'^' if negated else ''}{letters}]"))
        else:
            found.append((True, "[^/]*" if token.group() == "*" else "[^/]"))
    runs = ["".join(text for _, text in run) for _, run in itertools.groupby(found, key=lambda token: token[0])]
    wild_first = bool(found) and found[0][0]
    return "".join(f"(?P<{group}{i}>{run})" if (i % 2 == 0) == wild_first else run for i, run in enumerate(runs))


def _partners(visible: Sequence[_File], infrared: Sequence[_File], output: Path) -> tuple[list[Item], list[Problem]]:
    """Pairs by what their globs leave open; by their names where that is of no use."""
    by_open = [{file.open: file for file in files if file.open} for files in (visible, infrared)]
    use_open = bool(by_open[0].keys() & by_open[1].keys())
    sides: list[dict[tuple[str, ...], list[_File]]] = [{}, {}]
    for found, files in zip(sides, (visible, infrared), strict=True):
        for file in files:
            found.setdefault((file.open or ()) if use_open else (file.name,), []).append(file)
    items, problems, doubled = [], [], []
    for key in sorted(sides[0].keys() | sides[1].keys()):
        pair = [found.get(key, []) for found in sides]
        many = [_doubled(files) for files in pair if len(files) > 1]
        if not all(pair):
            there, lacking = ("visible", "infrared") if pair[0] else ("infrared", "visible")
            path = (pair[0] or pair[1])[0].path
            remedy = f"name the two of a pair alike, or remove the {there} one"
            problems.append(Problem(path, f"there is no {lacking} image of this name: {remedy}"))
        elif many:
            problems += many
            doubled += many
        else:
            (one,), (other,) = pair
            name = os.path.join(one.tree if use_open else "", one.name)
            items.append(Item(name, one.path, other.path, output / f"{name}.png", output))
    if doubled and not items:
        raise UserError(f"{doubled[0].path}: {doubled[0].reason}, and no other pair is left")
    return _with_own_targets(items, problems)


def _with_own_targets(items: Sequence[Item], problems: list[Problem]) -> tuple[list[Item], list[Problem]]:
    """Leaves out what would overwrite results of an item before it, of any kind."""
    kept, taken = [], dict[Path, Item]()
    for item in items:
        outputs = [item.output(kind) for kind in ("fused", *EXTRAS)]
        if others := [taken[path] for path in outputs if path in taken]:
            reason = f"would get the result of {others[0].visible}: leave more of both paths open, or rename it"
            problems.append(Problem(item.visible, reason))
        else:
            kept.append(item)
            taken |= dict.fromkeys(outputs, item)
    return kept, problems


def _doubled(files: Sequence[_File]) -> Problem:
    others = ", ".join(file.path for file in files[1:])
    return Problem(files[0].path, f"has the same name as {others}: keep one of them")
