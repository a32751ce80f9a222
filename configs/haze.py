"""IASSF for haze as it looks outdoors: made-up depth, noise, JPEG, many infrared cameras; no haze stays no haze.

python train.py --config configs/haze.py --config.data.root=MSRS,ROADSCENE [--config.init_from=WEIGHTS]

Any data sets of clear visible and infrared pairs; they need no depth maps. Crop and batch are a CPU's.
"""

from ml_collections import ConfigDict

from configs import msrs


def get_config() -> ConfigDict:
    """`configs/msrs.py` with other haze, degraded inputs and a schedule for a CPU."""
    config = msrs.get_config()
    with config.unlocked():
        config.data.root = "data/msrs,data/roadscene"
        config.model.prompt_size = 8  # ours: crops teach a pool no places, so a large one is noise (docs/weights.md)
        config.model.reconstruction = "soft"  # ours: haze is a gain and an offset; textures and colours come along
        config.model.refine_radius = 8  # ours: no lattice, and edges where the images have them
        config.data.crop = 128  # ours: CPU
        config.data.min_scale = 0.25  # ours: haze that follows depth is seen in whole scenes, not in small pieces
        config.data.permute_chance = 0.5  # ours: the pairs have few reds, and a network forgets what is rare
        # Ours: each as often as it stands here. Light haze is in all ranges; a clear image must come back clear; the
        # authors' haze is kept so that their test set is not forgotten.
        config.data.haze.kinds = (
            *("depth_like",) * 4,
            *("depth_like_night",) * 2,
            "homogeneous",
            "msrs_release",
            "none",
        )
        config.data.degrade.noise_chance = 0.3  # ours
        config.data.degrade.jpeg_chance = 0.3  # ours: most images that people have are JPEG files
        config.data.degrade.infrared_chance = 0.5  # ours
        config.loss.target = "luma"  # ours: the paper's makes grey of whatever is brighter in infrared
        config.loss.chroma = 5.0  # ours: colours are small numbers, and fused ones came out pale, reds yellow
        config.train.batch_size = 6  # paper
        config.train.steps = 20_000  # ours: on a CPU's crops
        config.train.ema_decay = 0.999  # ours: smooths the mixture of kinds
        config.optim.learning_rate = 3e-4  # ours
        config.optim.warmup_steps = 100  # ours: starting from other weights must not throw them away
        config.optim.clip_norm = 1.0  # ours: batches differ much
    return config
