"""`configs/msrs.py` on whole, shrunk images: the place in the image then tells how dense the authors' wave of haze is.

python train.py --config configs/msrs_whole.py --config.data.root=PATH_TO_MSRS --config.init_from=iassf-msrs

Beyond the paper, for a CPU. What it gave, and in which stages: docs/training.md.
"""

from ml_collections import ConfigDict

from configs import msrs


def get_config() -> ConfigDict:
    """`configs/msrs.py` with whole images, a small pool of prompts, and a schedule for a CPU."""
    config = msrs.get_config()
    with config.unlocked():
        config.model.prompt_size = 16  # ours: the wave is smooth, and a large pool keeps noise of its random start
        config.model.reconstruction = "soft"  # ours: haze is a gain and an offset; textures and colours come along
        config.model.global_modulation = True  # ours: how dense the haze is as a whole is what was misjudged most
        config.model.modulation_passes = 2  # ours: the second sees what the first made of it
        config.loss.target = "luma"  # ours: the paper's makes grey of whatever is brighter in infrared
        config.loss.chroma = 5.0  # ours: colours are small numbers, and fused reds came out yellow
        config.data.whole_size = (240, 320)  # ours: half of MSRS's
        config.data.horizontal_flip = False  # ours: a flip would move the wave
        config.data.vertical_flip = False  # ours
        config.train.batch_size = 2  # ours: CPU
        config.train.steps = 2000  # ours: CPU
        config.train.ema_decay = 0.98  # ours
        config.optim.learning_rate = 6e-4  # ours
        config.optim.min_learning_rate = 5e-6  # ours
        config.optim.warmup_steps = 8  # ours
        config.optim.clip_norm = 1.0  # ours
    return config
