"""The paper's experiments: a base config, and variants of it that `iassf-jax experiment` trains and compares."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict


def on_base(
    base: str,
    title: str,
    published: Sequence[str],
    variants: Mapping[str, Mapping[str, Any]],
    baselines: bool = False,
    compared_with: str = "",
    seeds: int = 1,
) -> ConfigDict:
    """`configs/BASE.py` with an `experiment` section.

    Args:
        base: name of a config in `configs/`.
        title: of the report.
        published: the paper's tables to show beside.
        variants: name -> the settings that differ from the base; a `model` with another name replaces the section.
        baselines: score the two-stage baselines too.
        compared_with: the variant from which the others' differences are told, where there are several seeds; "" for
            the first.
        seeds: runs of each variant, from the base's seed on.
    """
    config = importlib.import_module(f"configs.{base}").get_config()
    with config.unlocked():
        config.experiment = ConfigDict()
        config.experiment.title = title
        config.experiment.published = tuple(published)
        config.experiment.variants = tuple((name, dict(changes)) for name, changes in variants.items())
        config.experiment.baselines = baselines
        config.experiment.compared_with = compared_with
        config.experiment.seeds = seeds
    return config.lock()
