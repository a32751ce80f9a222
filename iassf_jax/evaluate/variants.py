"""The runs of an experiment: what each of them changes in a base config."""

import functools
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from iassf_jax.errors import UserError


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
        UserError: no `experiment` section, or a setting that the config does not have.
    """
    if "experiment" not in config or not config.experiment.get("variants"):
        raise UserError("the config has no experiment: use one of configs/experiments/")
    base = ConfigDict({name: section for name, section in config.items() if name != "experiment"})
    seeds = range(base.seed, base.seed + config.experiment.get("seeds", 1))
    rows = config.experiment.variants
    return [_variant(base, name, {"seed": seed, **dict(changes)}) for seed in seeds for name, changes in rows]


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
    same_network = network == base.model.name
    differing = [] if same_network else [network]
    for field, value in flat(settings):
        if (same_network or not field.startswith("model.")) and value != before[field]:
            differing.append(f"{field}={value}")
    return Variant(name, ",".join(differing).replace("/", "_").replace(" ", "") or "base", ConfigDict(settings))


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings under their names with dots, e.g. "model.channels"."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
