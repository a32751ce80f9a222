"""`configs/haze.py` with a network of a quarter of the cost, for CPUs.

python train.py --config configs/haze_small.py --config.data.root=MSRS,ROADSCENE
"""

from ml_collections import ConfigDict

from configs import haze


def get_config() -> ConfigDict:
    """3.2 GMAC of a 256x256 pair and 141,937 parameters; `configs/haze.py` has 12.8 and 744,892."""
    config = haze.get_config()
    with config.unlocked():
        config.model.channels = 12  # ours: half
        config.model.heads_per_channels = 12  # ours: one head at the first level, as there
        config.model.fusion_channels = 6  # ours: half
        config.model.fusion_blocks = 3  # ours
    return config
