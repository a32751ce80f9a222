"""The resolved config in a run's folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes
from iassf_jax.models import full_settings

CONFIG_FILE = "config.json"


def save_config(workdir: str | Path, config: ConfigDict) -> None:
    """Writes the resolved config into the run's folder."""
    path = Path(workdir) / CONFIG_FILE
    write_bytes(path, (config.to_json_best_effort(indent=2) + "\n").encode())


def load_config(workdir: str | Path) -> ConfigDict:
    """The config that a run was trained with."""
    path = Path(workdir) / CONFIG_FILE
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{workdir}: no {CONFIG_FILE} there: give the --workdir of a training run") from None
    except (OSError, ValueError, RecursionError) as error:
        mend = "restore the file, or remove it and train on with --config"
        raise UserError(f"{path}: cannot be read ({error}): {mend}") from None
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        raise UserError(f"{path}: is not the config of a run: train again, or restore the file")
    try:
        return ConfigDict(found)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: is not the config of a run ({str(error)[:80]}): restore the file") from None


def check_same_network(workdir: str | Path, config: ConfigDict) -> None:
    """Refuses to go on in a folder whose run has another network; a new folder is fine."""
    if not (Path(workdir) / CONFIG_FILE).exists():
        return
    if changed := changed_settings(load_config(workdir)["model"], config["model"]):
        raise UserError(f"{workdir}: holds a run with another network ({changed}): choose another --workdir")


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two `model` sections, with defaults filled in; empty if nothing does."""
    before, now = full_settings(before), full_settings(now)
    names = sorted(k for k in before | now if before.get(k) != now.get(k))
    return "; ".join(f"model.{k} was {before.get(k)}, is {now.get(k)}" for k in names)
