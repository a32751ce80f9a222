"""Fine-tunes the default weights on pairs of your own, in minutes on a CPU: docs/finetune.md.

python -m iassf_jax scenes --output data/scenes --count 40 --size 240 320
python train.py --config configs/finetune.py --config.data.root=YOURS,data/scenes

What draws transmission, air light and gains learns; what sees stays as it is. The generated scenes, and other haze than
yours, are there so that nothing is forgotten.
"""

from ml_collections import ConfigDict

from configs import haze


def get_config() -> ConfigDict:
    """`configs/haze.py` from its weights: the heads alone, one size of images, few steps."""
    config = haze.get_config()
    with config.unlocked():
        config.init_from = "iassf-haze"
        config.optim.trainable = ("heads",)  # ours: 3,600 of 1.6 million parameters; () trains all, with more data
        config.optim.learning_rate = 5e-4  # ours: right for the heads alone; all parameters want a tenth
        config.optim.min_learning_rate = 1e-5  # ours
        config.optim.warmup_steps = 20  # ours: the optimizer starts anew
        config.optim.weight_decay = 0.0  # ours: nothing shall drift that no image asks for
        config.data.root = "data/mine,data/scenes"
        config.data.val_fraction = 0.2  # ours: few pairs
        config.data.whole_size = (192, 256)  # ours: one program to compile
        config.train.batch_size = 4  # ours: CPU
        config.train.steps = 200  # ours: some minutes on two cores
        config.train.ema_decay = 0.98  # ours: the mean of the last fifty steps
        config.train.log_every = 20
        config.eval.every = 100
        config.eval.num_images = 8
        config.checkpoint.every = 100
    return config
