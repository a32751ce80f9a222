"""Table VII: the network without each of its parts.

iassf-jax experiment --config experiments/ablations --config.data.root=PATH_TO_MSRS
"""

from ml_collections import ConfigDict

from configs.experiments import on_base

PARTS = ("without_ir", "without_hde", "without_p_ir", "without_fr_peb", "without_p_vi", "without_fb_peb")


def get_config(base: str = "msrs") -> ConfigDict:
    """`configs/BASE.py`, with and without its parts."""
    variants = {part: {"model": {part: True}} for part in PARTS}
    return on_base(base, "Ablations", ("VII",), {**variants, "IASSF": {}}, compared_with="IASSF")
