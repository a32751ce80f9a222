"""Several data sets at once: `data.root=A,B`. Each has its own layout and split; their pairs follow one another."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from iassf_jax.data.layouts import PairList, find_pairs
from iassf_jax.errors import UserError

PACK_INDEX = "pack.json"


def is_packed(root: str) -> bool:
    """Whether a data root is a folder that `packed.pack` made."""
    return os.path.isfile(os.path.join(root, PACK_INDEX))


def split_roots(root: str) -> tuple[str, ...]:
    """The folders that a `data.root` names; a folder that has a comma in its name is itself.

    Raises:
        UserError: an empty name, or one folder twice.
    """
    if "," not in root or os.path.isdir(root):
        return (root,)
    roots = tuple(part.strip() for part in root.split(","))
    if not all(roots):
        raise UserError(f"data.root {root!r} has an empty name between its commas: give folders as A,B")
    real = Counter(os.path.realpath(part) for part in roots)
    for part in roots:
        if real[os.path.realpath(part)] > 1:
            raise UserError(f"data.root names {part} twice: its pairs would count double, and may be in two splits")
    return roots


def find_pairs_in_roots(
    root: str,
    layout: str = "auto",
    split: str = "train",
    folders: Mapping[str, str] | None = None,
    verify: bool = True,
    val_fraction: float = 0.1,
) -> PairList:
    """`layouts.find_pairs` in each folder that `root` names, in that order.

    A stem that several folders have gets the name of its folder in front, so that stems stay unique.

    Args:
        root: one folder, or several with commas between them.
        layout, split, folders, verify, val_fraction: as of `find_pairs`, for every folder.

    Returns:
        The pairs and problems of all folders.

    Raises:
        UserError: what `find_pairs` raises for one of the folders; wrong names; `folders` that are the same for all.
    """
    roots = split_roots(root)
    for part in filter(is_packed, roots):
        raise UserError(f"{part}: is a packed folder: give packed folders alone, or the folders that they were made of")
    if len(roots) == 1:
        return find_pairs(roots[0], layout, split, folders, verify, val_fraction)
    for role, path in (folders or {}).items():
        if os.path.isabs(path):
            raise UserError(f"{path}: data.folders.{role} would be the same in every data.root: make it relative")
    found = [find_pairs(part, layout, split, folders, verify, val_fraction) for part in roots]
    pairs = [pair for listed in found for pair in listed.pairs]
    stems = unique_stems(roots, [[pair.stem for pair in listed.pairs] for listed in found])
    named = (replace(pair, stem=stem) for pair, stem in zip(pairs, stems, strict=True))
    return PairList(tuple(named), tuple(problem for listed in found for problem in listed.problems))


def unique_stems(roots: tuple[str, ...], stems: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The stems of several folders, in order; one that several have gets the name of its folder in front."""
    counts = Counter(stem for of_root in stems for stem in of_root)
    return tuple(
        f"{name}_{stem}" if counts[stem] > 1 else stem
        for name, of_root in zip(_short_names(roots), stems, strict=True)
        for stem in of_root
    )


def _short_names(roots: tuple[str, ...]) -> list[str]:
    """The folders' own names, with a number where two are the same."""
    names = [os.path.basename(os.path.realpath(root)) for root in roots]
    counts = Counter(names)
    numbered = [name if counts[name] == 1 else f"{name}{i}" for i, name in enumerate(names)]
    is_unique = len(set(numbered)) == len(names)  # "a", "a" and "a1" are not
    return numbered if is_unique else [f"{i}_{name}" for i, name in enumerate(names)]
