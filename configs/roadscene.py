"""IASSF on RoadScene, with haze made on the fly: images have no depth, so the haze is the release's or homogeneous.

python train.py --config configs/roadscene.py --config.data.root=PATH_TO_ROADSCENE

`data.root` holds `crop_LR_visible` and `cropinfrared` (or `vi` and `ir`). Images are smaller than the paper's crop at
times; those are mirrored up to it. There is no published split: a tenth is held out by name.
Not run here in full.
"""

from ml_collections import ConfigDict

from configs import msrs


def get_config() -> ConfigDict:
    """`configs/msrs.py` with other data."""
    config = msrs.get_config()
    with config.unlocked():
        config.data.root = "data/roadscene"
        config.data.val_fraction = 0.1  # ours: 22 of 221 pairs
        config.data.haze.kinds = ("msrs_release", "homogeneous")  # ours: the paper does not say
    return config
