"""Table IX: the number M of fusion blocks.

iassf-jax experiment --config experiments/fusion_blocks --config.data.root=PATH_TO_MSRS
"""

from ml_collections import ConfigDict

from configs.experiments import on_base


def get_config(base: str = "msrs") -> ConfigDict:
    """`configs/BASE.py` with the paper's values of M."""
    variants = {f"M = {m}": {"model": {"fusion_blocks": m}} for m in (1, 3, 5, 7)}
    return on_base(base, "Fusion blocks", ("IX",), variants, compared_with="M = 5")
