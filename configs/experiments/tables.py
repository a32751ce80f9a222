"""Tables VII to IX and rows of ours at a scale that two CPU cores reach: small images, few steps, three seeds.

The last rows, large working sizes and networks at full size, take most of the time.

iassf-jax experiment --config experiments/tables --config.data.root=ROOT[,ROOT] --limit 24
"""

import importlib

from ml_collections import ConfigDict

from configs import msrs, release
from configs.experiments import on_base
from configs.experiments.ablations import PARTS


def get_config(base: str = "haze") -> ConfigDict:
    """`configs/BASE.py`, one of those that see small images, without each part and with other settings."""
    whole = importlib.import_module(f"configs.{base}").get_config()
    variants = {"whole": {}, **{part: {"model": {part: True}} for part in PARTS}}
    alphas = [x for x in (0.5, 1.0, 2.0, 3.0, 4.0, 5.0) if x != whole.loss.alpha]
    blocks = [m for m in (1, 3, 5, 7) if m != whole.model.fusion_blocks]
    variants |= {f"alpha = {x:g}": {"loss": {"alpha": x}} for x in alphas}
    variants |= {f"M = {m}": {"model": {"fusion_blocks": m}} for m in blocks}
    variants["HDE of features"] = {"model": {"hde_of_features": True}}
    variants["t, A unsupervised"] = {"loss": {"transmission": 0.0, "airlight": 0.0}}
    for longest, shape in ((96, (64, 96)), (192, (128, 192)), (256, (192, 256)), (384, (288, 384))):
        small = {"model": {"working_size": longest}, "data": {"whole_size": (shape,)}}
        variants[f"working size {longest}"] = small
    crops = {
        "data": {"with_truth": False, "whole_size": (), "crop": 96},
        "loss": {"beta": msrs.get_config().loss.beta, **dict.fromkeys(("transmission", "airlight", "hidden"))},
    }
    for name in ("direct", "soft"):  # at full size, with the paper's loss
        variants[name] = crops | {"model": {"reconstruction": name, "working_size": 0, "patch": 1}}
    variants["released network"] = crops | {"model": release.get_config().model.to_dict()}
    config = on_base(base, "Tables", ("VII", "VIII", "IX"), variants, baselines=True, compared_with="whole", seeds=3)
    with config.unlocked():
        config.model.working_size = 128
        config.data.whole_size = ((96, 128),)
        config.train.steps = 400
        config.train.ema_decay = 0.98
        config.optim.warmup_steps = 40
        config.checkpoint.every = 200
        config.eval.every = 50
        config.eval.num_images = 12
        config.eval.num_samples = 0
    return config
