"""The weights that come with the package, by name: `weights/NAME.safetensors` and a card `weights/NAME.json`."""

import hashlib
import json
from pathlib import Path
from typing import Any

from iassf_jax.errors import UserError

FOLDER = Path(__file__).parent / "files"
DEFAULT = "iassf-haze"


def names() -> list[str]:
    """The names of all shipped weights."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def card(name: str) -> dict[str, Any]:
    """What shipped weights are: `sha256`, `network`, `data`, `haze`, `training`, `results`, `known_failures`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def weights_file(name: str | Path) -> Path | None:
    """The file of shipped weights; None if there are none of that name: a `Path` is never a name.

    Raises:
        UserError: the file is not the one that its card describes.
    """
    if name not in names():
        return None
    path = FOLDER / f"{name}.safetensors"
    if hashlib.sha256(path.read_bytes()).hexdigest() != card(name)["sha256"]:
        raise UserError(f"{path}: is not the file that was shipped (its SHA-256 differs): install the package again")
    return path
