"""`configs/haze_whole.py` at full size in bfloat16, for a GPU.

python train.py --config configs/haze_gpu.py --config.data.root=MSRS,ROADSCENE --config.init_from=iassf-haze

What 306 of its steps gave: docs/weights.md.
"""

from ml_collections import ConfigDict

from configs import haze_whole


def get_config() -> ConfigDict:
    """`configs/haze_whole.py` with whole images of 640x480, more clear ones, and a GPU's schedule."""
    config = haze_whole.get_config()
    with config.unlocked():
        config.model.dtype = "bfloat16"  # ours
        config.data.whole_size = (480, 640)  # ours: the scale of the images that it shall be used on
        config.data.haze.kinds += ("none", "none")  # ours: three of eleven; with one, dark clear images turned black
        config.data.num_workers = 6  # ours
        config.train.batch_size = 4  # ours
        config.train.steps = 10_000  # ours
        config.train.ema_decay = 0.998  # ours
        config.optim.warmup_steps = 50  # ours
    return config
