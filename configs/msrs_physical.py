"""IASSF for the haze of the authors' test set, at a working size: the weights `iassf-msrs`.

python train.py --config configs/msrs_physical.py --config.data.root=PATH_TO_MSRS

That haze is a diagonal wave of fixed place, at half contrast: three numbers an image, which a whole, small image shows.
"""

from ml_collections import ConfigDict

from configs import msrs


def get_config() -> ConfigDict:
    """`configs/msrs.py` with physical reconstruction of whole images."""
    config = msrs.get_config()
    with config.unlocked():
        config.model.reconstruction = "physical"  # ours: draws transmission and air light, see models/heads.py
        config.model.working_size = 192  # ours
        config.model.patch = 4  # ours
        config.model.bound = 0.03  # ours: half contrast is half the transmission, and 0.07 occurs
        config.model.prompt_size = 8  # ours: a pool of 64x64 would be larger than the features
        config.model.restoration_blocks = (1, 1, 1, 2, 1, 1, 1)  # ours: one level more, to see the whole scene
        config.model.fusion_blocks = 3  # ours: only gains are drawn
        config.loss = ConfigDict()  # of losses.haze_loss
        config.loss.alpha = 4.0  # ours: the dehazed image is what is hard
        config.loss.beta = 0.2  # ours
        config.loss.transmission = 1.0  # ours
        config.loss.airlight = 2.0  # ours
        config.loss.hidden = 0.0  # ours: nothing is hidden
        config.data.with_truth = True
        config.data.whole_size = ((128, 192), (160, 192))  # ours: also other shapes
        config.data.vertical_flip = False  # ours: the sky is above
        config.data.permute_chance = 0.3  # ours
        config.data.relight.chance = 0.2  # ours
        config.train.batch_size = 8  # ours: CPU
        config.train.steps = 16_000  # ours
        config.train.ema_decay = 0.999  # ours
        config.optim.learning_rate = 6e-4  # ours
        config.optim.min_learning_rate = 6e-6  # ours
        config.optim.warmup_steps = 200  # ours
        config.optim.clip_norm = 1.0  # ours
        config.checkpoint.every = 250  # ours
    return config
