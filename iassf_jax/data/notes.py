"""What a user should know of a file that was used all the same."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_OPTIONS = re.compile(r" \((?:[a-z_]+, )?--[^)]*\)")


def without_options(message: str) -> str:
    """A message without the names of Python's and the command line's options."""
    return _OPTIONS.sub("", message)


class Note(NamedTuple):
    """`about` is the same sentence for every file of one kind; `detail` has this file's numbers."""

    about: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.about} ({self.detail})" if self.detail else self.about


class Kinds(dict[str, tuple[int, str, Note]]):
    """By the `about` of notes: how many files have one, and the first with its note."""

    def __init__(self, notes: Iterable[tuple[str, Note]] = ()) -> None:
        super().__init__()
        for path, note in notes:
            self.add(path, note)

    def add(self, path: str, note: Note) -> None:
        """Counts another one."""
        count, *first = self.get(note.about, (0, path, note))
        self[note.about] = (count + 1, *first)
