"""What several commands share: types of arguments, progress, and lists of what was left out."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from iassf_jax.data.notes import Kinds, Note

Commands = Any
"""What `ArgumentParser.add_subparsers` gives."""


def at_least(low: int) -> Callable[[str], int]:
    """A whole number of `low` or more."""

    def number(text: str) -> int:
        if not (text.isdecimal() and int(text) >= low):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {low} or more")
        return int(text)

    return number


def share(text: str) -> float:
    """A number of 0 to below 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 to below 1")
    return value


def names(text: str) -> tuple[str, ...]:
    """NAME[,NAME]."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def value_range(text: str) -> tuple[str, tuple[float, float]]:
    """NAME=LOW,HIGH."""
    name, _, values = text.partition("=")
    try:
        low, high = map(float, values.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=LOW,HIGH") from None
    return name, (low, high)


def role_path(text: str) -> tuple[str, str]:
    """ROLE=PATH."""
    role, _, path = text.partition("=")
    if not (role and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ROLE=PATH")
    return role, path


def command(commands: Commands, name: str, about: str, run: Callable[[argparse.Namespace], Any]) -> Any:
    """Adds a command; its help begins with `about` and shows defaults."""
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", formatter_class=_Help)
    parser.set_defaults(run=run)
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default in ("", (), []) or action.required:
            return action.help
        return super()._get_help_string(action)


def add_pairing(parser: Any) -> None:
    """The arguments that say which files are partners, and how they lie."""
    parser.add_argument(
        "--orient",
        choices=("same", "each", "never"),
        default="same",
        help="turn by the camera's tag: where both files have the same, each by its own, or never",
    )
    for side in ("visible", "infrared"):
        for place in ("prefix", "suffix"):
            parser.add_argument(
                f"--{side}-{place}", default="", metavar="TEXT", help=f"{place} of {side} names that partners lack"
            )


def affixes(args: argparse.Namespace) -> Any:
    """`Affixes` of the arguments of `add_pairing`."""
    from iassf_jax.fuse.pairs import Affixes

    return Affixes(args.visible_prefix, args.visible_suffix, args.infrared_prefix, args.infrared_suffix)


def shown(bar: tqdm) -> Callable[[int, int], None]:
    """A progress function for a bar, whose description is of what comes before."""

    def show(done: int, total: int) -> None:
        bar.total = total
        if done:
            bar.set_description(refresh=False)
        bar.update(done - bar.n)

    return show


def tell(notes: Iterable[tuple[str, Note]] | Kinds) -> None:
    """One line for each kind of note, with the first file's details; of notes with their files, or their `Kinds`."""
    kinds = notes if isinstance(notes, Kinds) else Kinds(notes)
    for about, (count, path, note) in kinds.items():
        first = f"{path}: {note}" if count == 1 else f"{count} pairs: {about}; the first: {path}"
        print(f"note: {first}" + (f" ({note.detail})" if note.detail and count > 1 else ""), file=sys.stderr)


def left_out(problems: Sequence[Any], what: str = "left out") -> int:
    """Tells of files that could not be used; the exit code: 1 if there are any."""
    from iassf_jax.data.layouts import format_problems

    if problems:
        print(f"{len(problems)} {what}:\n{format_problems(problems)}", file=sys.stderr)
    return 1 if problems else 0
