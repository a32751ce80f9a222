"""`configs/haze.py` on whole, shrunk images: haze that follows depth is dense where the scene's own layout says.

python train.py --config configs/haze_whole.py --config.data.root=MSRS,ROADSCENE --config.init_from=iassf-haze

What it gave over crops, and in which stages: docs/weights.md.
"""

from ml_collections import ConfigDict

from configs import haze


def get_config() -> ConfigDict:
    """`configs/haze.py` with whole images of two sizes and a schedule for a CPU."""
    config = haze.get_config()
    with config.unlocked():
        config.model.global_modulation = True  # ours: how dense the haze is as a whole; crops could not teach it
        config.model.modulation_passes = 2  # ours: the second sees what the first made of it
        # Ours: most images are 4:3 or wider; with one size alone haze of the other is misjudged (docs/weights.md).
        config.data.whole_size = ((240, 320), (240, 320), (480, 640))
        config.data.haze.kinds += ("homogeneous", "none")  # ours: two of eleven each, or they are forgotten
        config.data.vertical_flip = False  # ours: the sky is above
        config.train.batch_size = 2  # ours: CPU
        config.train.steps = 340  # ours: CPU
        config.train.ema_decay = 0.98  # ours: short stages
        config.optim.learning_rate = 3e-4  # ours
        config.optim.warmup_steps = 15  # ours
    return config
