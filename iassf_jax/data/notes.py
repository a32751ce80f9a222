"""What a user should know of a file that was used all the same."""

from typing import NamedTuple


class Note(NamedTuple):
    """`about` is the same sentence for every file of one kind; `detail` has this file's numbers."""

    about: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.about} ({self.detail})" if self.detail else self.about
