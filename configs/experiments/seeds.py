"""How far runs differ that differ in nothing but the seed: of weights, order, crops and haze.

iassf-jax experiment --config experiments/seeds --config.data.root=PATH_TO_MSRS
"""

from ml_collections import ConfigDict

from configs.experiments import on_base


def get_config(base: str = "msrs") -> ConfigDict:
    """`configs/BASE.py` three times."""
    return on_base(base, "Seeds", (), {f"seed {seed}": {"seed": seed} for seed in range(3)})
