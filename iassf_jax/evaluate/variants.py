"""The runs of an experiment: what each of them changes in a base config."""

import functools
import hashlib
import operator
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from iassf_jax.errors import UserError
from iassf_jax.models import full_settings
from iassf_jax.train.run_config import flat

_LONGEST = 160


@dataclass(frozen=True)
class Variant:
    """One run: the name of its row in the report, its folder's name, and its config without `experiment`."""

    name: str
    slug: str
    config: ConfigDict


def variants(config: ConfigDict) -> list[Variant]:
    """The runs of an experiment: every row of the first seed, then every row of the next.

    Folders are named by what differs from the base, so that experiments on one base share the runs that they share. A
    change to None takes a setting away, as other losses have other terms.

    Raises:
        UserError: no `experiment` section, a setting that the config does not have, or seeds of a row that are
            the same run.
    """
    if "experiment" not in config or not config.experiment.get("variants"):
        raise UserError("the config has no experiment: use one of configs/experiments/")
    base = ConfigDict({name: section for name, section in config.items() if name != "experiment"})
    seeds = range(base.seed, base.seed + config.experiment.get("seeds", 1))
    rows = config.experiment.variants
    runs = [_variant(base, name, {"seed": seed, **dict(changes)}) for seed in seeds for name, changes in rows]
    of_slug: dict[str, Variant] = {}
    for run in runs:
        other = of_slug.setdefault(run.slug, run)
        if other is not run and run.name == other.name:
            raise UserError(f"'{run.name}' sets its own seed: leave experiment.seeds at 1")
    return runs


def _variant(base: ConfigDict, name: str, changes: dict[str, Any]) -> Variant:
    settings, before = base.to_dict(), dict(flat(base.to_dict()))
    network = changes.get("model", {}).get("name", settings["model"]["name"])
    if network != settings["model"]["name"]:  # another network has other fields
        settings["model"] = changes.pop("model")
    for field, value in flat(changes):
        if field not in before:
            raise UserError(f"the variant '{name}' sets {field}, which the config does not have")
        *sections, last = field.split(".")
        section = functools.reduce(operator.getitem, sections, settings)
        if value is None:
            del section[last]
        else:
            section[last] = value
    differing = []
    if network != base.model.name:
        differing.append(network)
        before |= flat({"model": full_settings({"name": network})})
    differing += [f"{field}={value}" for field, value in flat(settings) if value != before.get(field)]
    return Variant(name, _slug(differing), ConfigDict(settings))


def _slug(differing: list[str]) -> str:
    """The name of a folder, which has 255 bytes at most."""
    slug = ",".join(differing).replace("/", "_").replace(" ", "") or "base"
    if len(slug.encode()) <= _LONGEST:
        return slug
    digest = hashlib.sha256(slug.encode()).hexdigest()[:8]
    return f"{slug.encode()[:_LONGEST].decode(errors='ignore')}-{digest}"
