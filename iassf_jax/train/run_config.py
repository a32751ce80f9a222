"""The resolved config in a run's folder."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes
from iassf_jax.models import full_settings
from iassf_jax.weights.renamed import current_settings

CONFIG_FILE = "config.json"
# Settings that came after the first version, and what a run does that was started without them.
ADDED: Mapping[str, Any] = {
    "init_from": "",
    "loss.beta": 1.0,
    "optim.schedule_every": "step",
    "optim.trainable": (),
    "data.infrared_percentiles": "none",
    "data.whole_size": (),
    "data.window": (1.0, 1.0),
    "data.with_truth": False,
    "data.infrared_fading": (0.0, 0.0),
    "data.min_scale": 1.0,
    "data.permute_chance": 0.0,
    "data.relight.chance": 0.0,
    "data.relight.gain": (1.0, 1.0),
    "data.relight.gamma": (1.0, 1.0),
    "data.relight.tint": (0.0, 0.0),
    "data.relight.black": (0.0, 0.0),
    "data.degrade.noise_chance": 0.0,
    "data.degrade.shot_noise": (0.0, 0.0),
    "data.degrade.read_noise": (0.0, 0.0),
    "data.degrade.jpeg_chance": 0.0,
    "data.degrade.jpeg_quality": (100, 100),
    "data.degrade.infrared_chance": 0.0,
    "data.degrade.infrared_gain": (1.0, 1.0),
    "data.degrade.infrared_gamma": (1.0, 1.0),
    "data.degrade.infrared_contrast": (1.0, 1.0),
    "data.degrade.infrared_offset": (0.0, 0.0),
    "data.degrade.misaligned_chance": 0.0,
    "data.degrade.misaligned_by": (0.0, 0.0),
    "data.degrade.no_infrared_chance": 0.0,
}

# What a run may have otherwise when it goes on: what it tells and keeps, its length, and where its data lies. Training
# itself compares seed, batch size, workers and the number of pairs.
MAY_CHANGE = (
    "eval.",
    "checkpoint.",
    "train.steps",
    "train.epochs",
    "train.log_every",
    "train.batch_size",
    "data.root",
    "data.folders",
    "data.layout",
    "data.num_workers",
    "data.verify",
    "init_from",
    "seed",
)


def save_config(workdir: str | Path, config: ConfigDict) -> None:
    """Writes the resolved config into the run's folder."""
    path = Path(workdir) / CONFIG_FILE
    write_bytes(path, (config.to_json_best_effort(indent=2) + "\n").encode())


def load_config(workdir: str | Path) -> ConfigDict:
    """The config that a run was trained with, brought up to this version."""
    path = Path(workdir) / CONFIG_FILE
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{workdir}: no {CONFIG_FILE} there: give a training run, or weights and a --config") from None
    except (OSError, ValueError, RecursionError) as error:
        mend = "restore the file, or remove it and train on with --config"
        raise UserError(f"{path}: cannot be read ({error}): {mend}") from None
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        raise UserError(f"{path}: is not the config of a run: train again, or restore the file")
    try:
        return ConfigDict(upgraded(found))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: is not the config of a run ({str(error)[:80]}): restore the file") from None


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config with what `ADDED` says where it lacks a setting, and without a network's that are gone.

    Weights that were converted have no sections but `model` and `source`, and get none.
    """
    config = copy.deepcopy({**config, "model": current_settings(config["model"])})
    for name, value in ADDED.items() if "data" in config else ():
        *sections, field = name.split(".")
        section = config
        for part in sections:
            section = section.setdefault(part, {})
        section.setdefault(field, value)
    return config


def check_same_run(workdir: str | Path, config: ConfigDict, free: tuple[str, ...] = MAY_CHANGE) -> None:
    """Refuses a folder whose run has other settings: its numbers would stand under a wrong name.

    Args:
        workdir: a new folder is fine.
        config: of the run that is to go on there.
        free: how names of settings begin that may differ.

    Raises:
        UserError: other settings.
    """
    if not (Path(workdir) / CONFIG_FILE).exists() or "data" not in (before := load_config(workdir)):
        return  # weights without a run are refused where they are read
    if changed := changed_settings(before.to_dict(), config.to_dict(), free):
        raise UserError(f"{workdir}: holds a run with other settings ({changed}): choose another --workdir")


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], free: tuple[str, ...] = ()) -> str:
    """What differs between two configs, whose networks get their defaults; empty if nothing does.

    Args:
        before, now: of any sections, `model` among them.
        free: how names of settings begin that may differ, e.g. "eval.".
    """
    # As JSON has them: tuples are lists there.
    full = (json.dumps({**config, "model": full_settings(config["model"])}) for config in (before, now))
    old, new = (dict(flat(json.loads(text))) for text in full)
    ordered = sorted(old | new, key=lambda name: (name != "model.name", name))  # another network says all
    names = [k for k in ordered if old.get(k) != new.get(k) and not k.startswith(free)]
    more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
    return "; ".join(f"{k} was {old.get(k)}, is {new.get(k)}" for k in names[:3]) + more


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings under their names with dots, e.g. "model.channels"."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
