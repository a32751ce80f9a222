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
        config.optim.trainable = ("mspe_fm", "pgm_vi")  # ours: the dehazed image stays
        config.loss.target = "both"  # ours: the darker image is felt too
        config.loss.gradient = "signed"  # ours: magnitudes alone are met by noise
        config.loss.beta = 0.8  # ours: more Q_SCD
        config.loss.perceived = 0.02  # ours: less Q_CV
        config.data.whole_size = ((240, 320), (480, 640))  # ours: small for speed, full size for the end
        config.train.steps = 800  # ours: CPU
        config.optim.learning_rate = 1e-3  # ours
    return config
