"""The authors' released network and the recipe of their release, which differ from the paper's.

python train.py --config configs/release.py --config.data.root=PATH_TO_MSRS [--config.init_from=CONVERTED]

`init_from` fine-tunes weights that `python -m iassf_jax convert` made of theirs. docs/parity.md tells what agrees.
"""

from ml_collections import ConfigDict

from configs import msrs


def get_config() -> ConfigDict:
    """`configs/msrs.py` with the release's network, augmentation and schedule."""
    config = msrs.get_config()
    with config.unlocked():
        config.model = ConfigDict({"name": "iassf_release", "dtype": "float32"})  # widths and depths are fixed
        config.optim.schedule_every = "epoch"  # release
        config.data.rotations = True  # release
        config.data.vertical_flip = False  # release: horizontal only
        # The release reads stored hazy files, made by this haze; to read them: ("stored",).
        config.data.haze.kinds = ("msrs_release",)
        config.eval.pad_multiple = 4  # release; other sizes are padded more inside, and give other numbers
    return config
