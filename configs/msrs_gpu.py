"""`configs/msrs_whole.py` at full size in bfloat16, for a GPU.

python train.py --config configs/msrs_gpu.py --config.data.root=PATH_TO_MSRS --config.init_from=iassf-msrs

What 812 of its steps gave: docs/training.md.
"""

from ml_collections import ConfigDict

from configs import msrs_whole


def get_config() -> ConfigDict:
    """`configs/msrs_whole.py` with whole images of 640x480 and a GPU's schedule."""
    config = msrs_whole.get_config()
    with config.unlocked():
        config.model.dtype = "bfloat16"  # ours
        config.data.whole_size = (480, 640)  # ours: MSRS's own, as the wave has it
        config.data.num_workers = 4  # ours
        config.train.batch_size = 2  # ours
        config.train.steps = 20_000  # ours
        config.train.ema_decay = 0.998  # ours
        config.optim.warmup_steps = 50  # ours
    return config
