"""IASSF for haze as it is outdoors, at a working size: the default weights `iassf-haze`.

python train.py --config configs/haze.py --config.data.root=ROOT[,ROOT]

The shipped weights had 17,756 steps of 8, most at 128x96, in five hours on one CPU core: outdoor haze 11.9 -> 15.7 dB,
homogeneous 14.3 -> 23.4. docs/weights_iassf_haze.md has the commands and all results.

Any data sets of clear visible and infrared pairs. Depth maps are followed where there are any, and made up elsewhere.
"""

from ml_collections import ConfigDict

from configs import msrs


def get_config() -> ConfigDict:
    """`configs/msrs.py` with physical reconstruction, other haze, degraded inputs and a long schedule."""
    config = msrs.get_config()
    with config.unlocked():
        see_small(config)
        config.loss.alpha = 2.0  # paper
        config.loss.beta = 0.2  # ours
        config.loss.transmission = 0.2  # ours
        config.loss.airlight = 0.5  # ours
        config.loss.hidden = 0.15  # ours
        config.data.root = "data/msrs,data/roadscene"
        config.data.window = (0.5, 1.0)  # ours: whole images or large parts of them
        config.data.infrared_fading = (0.0, 0.25)  # ours: infrared sees through thin fog, not through everything
        config.data.permute_chance = 0.2  # ours: the pairs have few reds, and a network forgets what is rare
        # Ours: each as often as it stands here. A clear image must come back clear.
        config.data.haze.kinds = (
            *("outdoor",) * 8,
            *("dense",) * 3,
            *("depth_like",) * 3,
            *("depth_like_night",) * 2,
            *("homogeneous",) * 2,
            *("none",) * 2,
        )
        config.data.relight.chance = 0.3  # ours: dusk, other cameras
        config.data.degrade.noise_chance = 0.2  # ours: beside the noise of outdoor haze
        config.data.degrade.jpeg_chance = 0.3  # ours: most images that people have are JPEG files
        config.data.degrade.infrared_chance = 0.5  # ours
        config.data.degrade.misaligned_chance = 0.2  # ours
        config.data.degrade.no_infrared_chance = 0.04  # ours
        config.data.depth_meaning = "depth"  # of generated scenes
        config.data.depth_scale = 0.01  # of generated scenes: centimetres
        config.train.steps = 24_000  # ours
        config.train.ema_decay = 0.9995  # ours
    return config


def see_small(config: ConfigDict) -> None:
    """Sets the network that sees whole images at a working size, and what its training needs; no term of the loss."""
    config.model.reconstruction = "physical"  # ours: draws transmission and air light, see models/heads.py
    config.model.working_size = 192  # ours: haze is smooth; what is sharp comes from the images at full size
    config.model.patch = 4  # ours
    config.model.prompt_size = 8  # ours: a pool of 64x64 would be larger than the features
    config.model.restoration_blocks = (1, 1, 1, 2, 1, 1, 1)  # ours: one level more, to see the whole scene
    config.model.fusion_blocks = 3  # ours: only gains are drawn
    config.loss = ConfigDict()  # of losses.haze_loss
    config.data.with_truth = True
    config.data.whole_size = ((128, 192), (160, 192))  # ours: shapes take turns
    config.data.vertical_flip = False  # ours: the sky is above
    config.train.batch_size = 8  # ours: CPU
    config.optim.learning_rate = 6e-4  # ours
    config.optim.min_learning_rate = 6e-6  # ours
    config.optim.warmup_steps = 200  # ours
    config.optim.clip_norm = 1.0  # ours: batches differ much
    config.checkpoint.every = 250  # ours
