"""Ours: the side of the learned prompt pool, which is half of the parameters.

python experiment.py --config configs/experiments/prompt_pool.py --config.data.root=PATH_TO_MSRS
"""

from ml_collections import ConfigDict

from configs.experiments import on_base


def get_config(base: str = "msrs") -> ConfigDict:
    """`configs/BASE.py` with pools of several sizes; 1 is a learned vector for each prompt."""
    return on_base(base, "Prompt pool", (), {f"{n} x {n}": {"model": {"prompt_size": n}} for n in (1, 8, 16, 32, 64)})
