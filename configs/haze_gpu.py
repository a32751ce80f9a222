"""`configs/haze_whole.py` in bfloat16, for a GPU.

python train.py --config configs/haze_gpu.py --config.data.root=MSRS,ROADSCENE --config.init_from=iassf-haze

What 306 steps at 640x480 alone gave, and that the smaller size is missed there: docs/weights.md.
"""

from ml_collections import ConfigDict

from configs import haze_whole


def get_config() -> ConfigDict:
    """`configs/haze_whole.py` in bfloat16, with larger batches and a GPU's schedule."""
    config = haze_whole.get_config()
    with config.unlocked():
        config.model.dtype = "bfloat16"  # ours
        config.data.num_workers = 6  # ours
        config.train.batch_size = 4  # ours
        config.train.steps = 10_000  # ours
        config.train.ema_decay = 0.998  # ours
        config.optim.warmup_steps = 50  # ours
    return config
