"""What was made from what, with which weights and settings, in a JSON file beside the results."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iassf_jax.data import images
from iassf_jax.data.layouts import Problem


class Manifest:
    """The JSON file beside the results: versions, weights, settings, what was made from what, and what was left out."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self.about = json.loads(json.dumps(about))
        self.before: dict[str, Any] = {}
        if path.is_file():
            try:
                self.before = dict(json.loads(path.read_text()))
            except (OSError, ValueError, TypeError):
                self.before = {"settings": "a damaged manifest"}

    @property
    def known(self) -> bool:
        """Whether the results in place were made with these weights and settings."""
        return bool(self.before) and not self.changed()

    def changed(self) -> list[str]:
        """The names of what differs from the results in place."""
        old_weights, new_weights = (x.get("weights") or {} for x in (self.before, self.about))
        changed = [] if self._hash(old_weights) == self._hash(new_weights) else ["weights"]
        old, new = self.before.get("settings"), self.about["settings"]
        if not isinstance(old, dict):
            return [*changed, "settings"]
        return changed + [name for name in new if old.get(name) != new[name]]

    @staticmethod
    def _hash(weights: Any) -> Any:
        return weights.get("sha256", weights) if isinstance(weights, dict) else None

    def write(self, made: Mapping[str, Mapping[str, str]], problems: Sequence[Problem]) -> None:
        """Writes the file with what is done so far; what an earlier run of the same settings made stays listed."""
        listed = self.before.get("items", {}) if self.known else {}
        failures = [dataclasses.asdict(problem) for problem in problems]
        text = json.dumps({**self.about, "items": {**listed, **made}, "failures": failures}, indent=2)
        images.write_bytes(self.path, (text + "\n").encode())
