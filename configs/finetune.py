"""Fine-tunes the default weights on pairs of your own, in minutes on a CPU: docs/finetune.md.

python -m iassf_jax scenes --output data/scenes --count 40 --size 240 320
python train.py --config configs/finetune.py --workdir runs/mine --config.data.root=YOURS,data/scenes
python -m iassf_jax convert runs/mine mine.safetensors --average-with iassf-haze

200 steps of 8. With 24 pairs of CIDIS, seven of them held out, those went from 21.5 to 22.5 dB and the scenes from 28.8
to 28.7.

The generated scenes, other haze than yours, and the mean with the weights from before are there so that nothing is
forgotten.
"""

from ml_collections import ConfigDict

from configs import haze


def get_config() -> ConfigDict:
    """`configs/haze.py` from its weights: small images, few steps."""
    config = haze.get_config()
    with config.unlocked():
        config.init_from = "iassf-haze"
        config.optim.learning_rate = 2e-4  # ours: a third of the training's
        config.optim.min_learning_rate = 1e-5  # ours
        config.optim.warmup_steps = 20  # ours: the optimizer starts anew
        config.data.root = "data/mine,data/scenes"
        config.data.val_fraction = 0.2  # ours: few pairs
        config.data.whole_size = (96, 128)  # ours: one program to compile
        config.train.steps = 200  # ours: some minutes on two cores
        config.train.ema_decay = 0.98  # ours: the mean of the last fifty steps
        config.train.log_every = 20
        config.eval.every = 100
        config.eval.num_images = 8
        config.checkpoint.every = 100
    return config
