"""IASSF for the haze of the authors' test set, at a working size: the weights `iassf-msrs`.

python train.py --config configs/msrs_physical.py --config.data.root=PATH_TO_MSRS

The shipped weights had 10,000 steps of 8 at 128x96 in two and a half hours on one CPU core: 7.4 -> 30.0 dB on the 60
validation images.

That haze is a diagonal wave of fixed place, at half contrast: three numbers an image, which a whole, small image shows.
"""

from ml_collections import ConfigDict

from configs import msrs
from configs.haze import see_small


def get_config() -> ConfigDict:
    """`configs/msrs.py` with physical reconstruction of whole images."""
    config = msrs.get_config()
    with config.unlocked():
        see_small(config)
        config.model.bound = 0.03  # ours: half contrast is half the transmission, and 0.07 occurs
        config.loss.alpha = 4.0  # ours: the dehazed image is what is hard
        config.loss.beta = 0.2  # ours
        config.loss.transmission = 1.0  # ours
        config.loss.airlight = 2.0  # ours
        config.loss.hidden = 0.0  # ours: nothing is hidden
        config.data.permute_chance = 0.3  # ours
        config.data.relight.chance = 0.2  # ours
        config.train.steps = 16_000  # ours
        config.train.ema_decay = 0.999  # ours
    return config
