"""What a user should know of a file that was used all the same."""

import re
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
