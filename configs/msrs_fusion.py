"""The fusion of `configs/msrs_whole.py` alone, all else frozen: what a user sees of both images, and the fused scores.

python train.py --config configs/msrs_fusion.py --config.data.root=PATH_TO_MSRS --config.init_from=iassf-msrs

Beyond the paper. What it gave: docs/weights.md, "Fusion".
"""

from ml_collections import ConfigDict

from configs import msrs_whole


def get_config() -> ConfigDict:
    """`configs/msrs_whole.py` that trains the fusion stages alone, with signed gradients."""
    config = msrs_whole.get_config()
    with config.unlocked():
        config.optim.trainable = ("mspe_fm", "pgm_vi")
        config.loss.target = "both"
        config.loss.gradient = "signed"
        config.loss.beta = 0.3
        config.data.whole_size = ((240, 320), (480, 640))
        config.train.steps = 800
        config.optim.learning_rate = 1e-3
    return config
