"""What was made from what, with which weights and settings, in a JSON file beside the results."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from iassf_jax.data.layouts import Problem
from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes


class Manifest:
    """The JSON file beside the results: versions, weights, settings, what was made from what, and what was left out.

    Attributes:
        items: by stem, what earlier runs with these weights and settings made; also of the manifests of other shards.
        other: by stem, what runs with other weights or settings made: the manifest's path and what differs.
        damaged: a manifest that cannot be read.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], shards: Iterable[Path] = (), kept: bool = True) -> None:
        """Reads what is there; `kept`: whether to write one where there is none."""
        self.path = path
        self._kept = kept or path.is_file()
        self.about = json.loads(json.dumps(about))
        self.items: dict[str, dict[str, Any]] = {}
        self.other: dict[str, tuple[Path, list[str]]] = {}
        self._own: dict[str, dict[str, Any]] = {}
        self.damaged: Path | None = None
        for file in dict.fromkeys((path, *shards)):
            if file.is_file():
                self._read(file)

    def _read(self, file: Path) -> None:
        try:
            before = dict(json.loads(file.read_text()))
            items = dict(before["items"])
        except (OSError, ValueError, TypeError, KeyError):
            self.damaged = file
            return
        if items and (changed := self._changed(before)):
            self.other |= dict.fromkeys(items, (file, changed))
        elif items:
            self.items |= items
            if file == self.path:
                self._own = items

    def _changed(self, before: Mapping[str, Any]) -> list[str]:
        """The names of what differs from an earlier run."""
        old_weights, new_weights = (x.get("weights") or {} for x in (before, self.about))
        changed = [] if self._hash(old_weights) == self._hash(new_weights) else ["weights"]
        old, new = before.get("settings"), self.about["settings"]
        if not isinstance(old, dict):
            return [*changed, "settings"]
        return changed + [name for name in new if old.get(name) != new[name]]

    @staticmethod
    def _hash(weights: Any) -> Any:
        return weights.get("sha256", weights) if isinstance(weights, dict) else None

    def refuse_other_work(self, stems: Iterable[str]) -> None:
        """Raises UserError where other weights or settings made one of these, or any that the same file lists."""
        if self.damaged:
            raise UserError(f"{self.damaged}: is damaged: remove it and choose another --output, or --overwrite")
        wanted = set(stems)
        for stem, (file, changed) in self.other.items():
            if file == self.path or stem in wanted - self.items.keys():
                what = f"results of other {' and '.join(changed)} are there"
                raise UserError(f"{file}: {what}: choose another --output, or --overwrite")

    def write(self, made: Mapping[str, Mapping[str, Any]], problems: Sequence[Problem]) -> None:
        """Writes the file with what is done so far; what an earlier run of the same settings made stays listed."""
        if not self._kept:
            return
        failures = [dataclasses.asdict(problem) for problem in problems]
        text = json.dumps({**self.about, "items": {**self._own, **made}, "failures": failures}, indent=2)
        write_bytes(self.path, (text + "\n").encode())
