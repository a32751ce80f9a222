"""Table VIII: the weight of the L1 loss of the dehazed image.

iassf-jax experiment --config experiments/alpha --config.data.root=PATH_TO_MSRS
"""

from ml_collections import ConfigDict

from configs.experiments import on_base


def get_config(base: str = "msrs") -> ConfigDict:
    """`configs/BASE.py` with the paper's values of alpha."""
    values = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
    return on_base(
        base, "Alpha", ("VIII",), {f"alpha = {x:g}": {"loss": {"alpha": x}} for x in values}, compared_with="alpha = 2"
    )
