"""A small IASSF on generated scenes: shows that everything works, in about two minutes on a laptop CPU.

python train.py --config configs/quickstart.py

Its validation scenes end at about 20.6 dB.
"""

from ml_collections import ConfigDict

from configs import msrs


def get_config() -> ConfigDict:
    """`configs/msrs.py` with generated scenes, a narrow network and few steps."""
    config = msrs.get_config()
    with config.unlocked():
        config.data.source = "scenes"  # needs no download
        config.data.crop = 96  # ours: CPU
        config.data.haze.kinds = ("depth", "homogeneous")  # ours: haze as it is outdoors; scenes know their depth
        config.model.reconstruction = "soft"  # ours: colours and structure of the hazy image come along
        config.model.channels = 16  # ours: CPU
        config.model.fusion_channels = 8  # ours: CPU
        config.model.restoration_blocks = (1, 1, 1)  # ours: CPU
        config.model.fusion_blocks = 3  # ours: CPU
        config.model.heads_per_channels = 16  # ours: one head at the first level
        config.train.batch_size = 4  # ours: CPU
        config.train.steps = 150  # ours: about two minutes
        config.train.ema_decay = 0.98  # ours: smooths a short run
        config.train.log_every = 10
        config.optim.learning_rate = 2e-3  # ours: short schedule
        config.optim.warmup_steps = 10
        config.optim.clip_norm = 1.0
        config.eval.every = 150
        config.eval.num_images = 4
        config.checkpoint.every = 150
    return config
