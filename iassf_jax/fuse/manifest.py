"""What was made from what, with which weights and settings, in a JSON file beside the results."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from iassf_jax.data.layouts import Problem
from iassf_jax.errors import UserError
from iassf_jax.files import sha256, write_bytes

Records = dict[str, dict[str, Any]]


class Manifest:
    """The JSON file beside the results: versions, weights, settings, what was made from what, and what was left out.

    Attributes:
        items: what earlier runs with these weights and settings made: of this manifest and of those of other shards
            the records by stem.
        other: of the manifests of other weights or settings the path, what differs, and the records by stem.
        damaged: a manifest that cannot be read.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], shards: Iterable[Path] = (), kept: bool = True) -> None:
        """Reads what is there; `kept`: whether to write one where there is none."""
        self.path = path
        self._kept = kept or path.is_file()
        self.about = json.loads(json.dumps(about))
        self.items: list[Records] = []
        self.other: list[tuple[Path, list[str], Records]] = []
        self._own: Records = {}
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
            self.other.append((file, changed, items))
        elif items:
            self.items.append(items)
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
        unknown = set(stems).difference(*self.items)
        for file, changed, items in self.other:
            if file == self.path or unknown & items.keys():
                raise _other_work(file, changed)

    def has(self, stem: str, names: Sequence[str], inputs: str) -> bool:
        """Whether a pair's files are there as runs with these weights and settings made them.

        Args:
            stem: of the pair.
            names: of the wanted files, by the way from this file's folder.
            inputs: the hash of the pair.

        Raises:
            UserError: what other images, weights or settings gave is there.
        """
        records = [items[stem] for items in self.items if stem in items]
        same = [record for record in records if record.get("inputs_sha256", "") == inputs]
        if same and all(any(_lacks(record, name) or self._stands(record, name) for record in same) for name in names):
            return True
        for record in records:
            if record not in same and (found := [x for x in record.get("files", names) if self._stands(record, x)]):
                path = self.path.parent / found[0]
                raise UserError(f"{path}: was made from other images: choose another --output, or --overwrite")
        for file, changed, items in self.other:
            if "files" in (record := items.get(stem, {})) and any(self._stands(record, name) for name in names):
                raise _other_work(file, changed)
        return False

    def _stands(self, record: Mapping[str, Any], name: str) -> bool:
        """Whether a file is there as a record tells; records of former versions tell of none what it holds."""
        path = self.path.parent / name
        if "files" not in record or not path.is_file():
            return path.is_file()
        try:
            return record["files"].get(name) == sha256(path)
        except OSError:  # who may not read it may replace it all the same
            return False

    def joined(self, stem: str, record: dict[str, Any]) -> dict[str, Any]:
        """A new record, which keeps the files that this manifest has told of the same pair."""
        before = self._own.get(stem, {})
        if before.get("inputs_sha256") != record["inputs_sha256"]:
            return record
        return record | {"files": before.get("files", {}) | record["files"]}

    def write(self, made: Mapping[str, Mapping[str, Any]], problems: Sequence[Problem]) -> None:
        """Writes the file with what is done so far; what an earlier run of the same settings made stays listed."""
        if not self._kept:
            return
        failures = [dataclasses.asdict(problem) for problem in problems]
        text = json.dumps({**self.about, "items": {**self._own, **made}, "failures": failures}, indent=2)
        write_bytes(self.path, (text + "\n").encode())


def _lacks(record: Mapping[str, Any], name: str) -> bool:
    """Whether the network gave no such file when it was asked."""
    return record.get("files", {}).get(name, "") is None


def _other_work(file: Path, changed: Sequence[str]) -> UserError:
    what = f"results of other {' and '.join(changed)} are there"
    return UserError(f"{file}: {what}: choose another --output, or --overwrite")
