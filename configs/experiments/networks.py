"""Table I: the paper's network, the authors' released one trained in the same way, and two-stage baselines.

iassf-jax experiment --config experiments/networks --config.data.root=PATH_TO_MSRS
"""

from ml_collections import ConfigDict

from configs import release
from configs.experiments import on_base


def get_config(base: str = "msrs") -> ConfigDict:
    """`configs/BASE.py` with both networks; the baselines are scored on the same images."""
    variants = {"IASSF": {}, "released network": {"model": release.get_config().model.to_dict()}}
    return on_base(base, "Networks", ("I",), variants, baselines=True, compared_with="IASSF")
