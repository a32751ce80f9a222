"""Ours: whether the last convolutions give the images, or what is to change in them.

python experiment.py --config configs/experiments/reconstruction.py --config.data.root=PATH_TO_MSRS
"""

from ml_collections import ConfigDict

from configs.experiments import on_base
from iassf_jax.models.iassf import RECONSTRUCTIONS


def get_config(base: str = "msrs") -> ConfigDict:
    """`configs/BASE.py` with each reconstruction."""
    variants = {name: {"model": {"reconstruction": name}} for name in RECONSTRUCTIONS}
    variants["direct"]["model"]["refine_radius"] = 0  # there is nothing to refine
    return on_base(base, "Reconstruction", (), variants)
