"""Ours: whether the last convolutions give the images, or what is to change in them.

iassf-jax experiment --config experiments/reconstruction --config.data.root=PATH_TO_MSRS
"""

from ml_collections import ConfigDict

from configs.experiments import on_base


def get_config(base: str = "msrs") -> ConfigDict:
    """`configs/BASE.py` with each reconstruction."""
    variants = {name: {"model": {"reconstruction": name}} for name in ("direct", "soft")}
    return on_base(base, "Reconstruction", (), variants, compared_with="direct")
