"""IASSF on M3FD, with haze made on the fly: images have no depth, so the haze is the release's or homogeneous.

python train.py --config configs/m3fd.py --config.data.root=PATH_TO_M3FD

`data.root` holds `Vis` and `Ir` (1024x768). There is no published split: a tenth is held out by name.
Not run here in full.
"""

from ml_collections import ConfigDict

from configs import msrs


def get_config() -> ConfigDict:
    """`configs/msrs.py` with other data."""
    config = msrs.get_config()
    with config.unlocked():
        config.data.root = "data/m3fd"
        config.data.val_fraction = 0.1  # ours
        config.data.haze.kinds = ("msrs_release", "homogeneous")  # ours: the paper does not say
    return config
