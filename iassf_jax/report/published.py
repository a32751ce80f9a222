"""The paper's own rows: what its authors measured, on their data split."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from iassf_jax.errors import UserError


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper: its number ("I"), data set, setting, and rows: name -> metric name -> value."""

    name: str
    dataset: str
    setting: str
    rows: dict[str, dict[str, float]]

    @property
    def heading(self) -> str:
        """Says where the rows come from and that they do not compare."""
        return f"Published, other data split: Table {self.name} ({self.dataset}, {self.setting})"


@functools.cache
def _paper() -> dict[str, Any]:
    return json.loads(resources.files(__package__).joinpath("paper_tables.json").read_text(encoding="utf-8"))


def source() -> str:
    """The paper's authors, title and number."""
    return _paper()["source"].split(", Tables")[0]


def published_tables(names: Sequence[str]) -> list[PublishedTable]:
    """Looks up tables of the paper.

    Args:
        names: their Roman numbers, "I" to "IX"; one that is named twice is given once.

    Returns:
        The tables, in the order of `names`.

    Raises:
        UserError: the paper has no such table.
    """
    tables = _paper()["tables"]
    for name in names:
        if name not in tables:
            raise UserError(f"the paper has no Table '{name}' with scores: choose from {' '.join(tables)}")
    return [PublishedTable(name=name, **tables[name]) for name in dict.fromkeys(names)]
