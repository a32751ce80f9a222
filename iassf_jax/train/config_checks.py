"""Refuses configs that cannot work, before anything is made."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from iassf_jax.data.augment import degrade, relight
from iassf_jax.data.haze import DEPTH_MEANINGS, HAZE_KINDS, merged_ranges
from iassf_jax.data.levels import parse_percentiles
from iassf_jax.data.pipeline import whole_sizes
from iassf_jax.errors import UserError
from iassf_jax.losses import haze_loss, paper_loss

# Field -> smallest and largest value that makes sense.
SCHEDULES = ("step", "epoch")
_RANGES = {
    "loss.alpha": (0, math.inf),
    "optim.learning_rate": (1e-30, math.inf),
    "optim.min_learning_rate": (0, math.inf),
    "optim.beta1": (0, 0.9999999),
    "optim.beta2": (0, 0.9999999),
    "optim.epsilon": (1e-30, math.inf),
    "optim.warmup_steps": (0, math.inf),
    "optim.weight_decay": (0, math.inf),
    "optim.clip_norm": (0, math.inf),
    "optim.accumulate_steps": (1, math.inf),
    "train.batch_size": (1, math.inf),
    "train.epochs": (0, math.inf),
    "train.steps": (0, math.inf),
    "train.ema_decay": (0, 0.9999999),
    "train.log_every": (1, math.inf),
    "data.crop": (1, math.inf),
    "data.num_workers": (0, math.inf),
    "data.scenes.num_train": (1, math.inf),
    "data.scenes.num_val": (1, math.inf),
    "eval.every": (0, math.inf),
    "eval.num_images": (0, math.inf),
    "eval.num_samples": (0, math.inf),
    "eval.batch_size": (1, math.inf),
    "eval.pad_multiple": (1, math.inf),
    "eval.seed": (0, math.inf),
    "checkpoint.every": (0, math.inf),
    "checkpoint.keep": (1, math.inf),
    "checkpoint.keep_every": (0, math.inf),
    "seed": (0, 2**32 - 1),
}


def check_config(config: Mapping[str, Any]) -> None:
    """Looks at the numbers and names of a config.

    Raises:
        UserError: lists every one that cannot work.
    """
    problems = []
    for name, (low, high) in _RANGES.items():
        value: Any = config
        for part in name.split("."):
            if part not in value:
                raise UserError(f"the config has no {name}: start from configs/msrs.py")
            value = value[part]
        if not low <= value <= high:
            limit = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            problems.append(f"{name} is {value}: use {limit}")
    if config["optim"]["min_learning_rate"] > config["optim"]["learning_rate"]:
        problems.append("optim.min_learning_rate is above optim.learning_rate: lower it")
    if config["optim"].get("schedule_every", "step") not in SCHEDULES:
        problems.append(f"optim.schedule_every: use one of {', '.join(SCHEDULES)}")
    with_truth = config["data"].get("with_truth", False)
    loss = haze_loss if with_truth else paper_loss
    settings = [
        x.name for x in inspect.signature(loss).parameters.values() if x.default is not x.empty and x.name != "bound"
    ]
    problems += [f"loss has {name!r}: use {', '.join(settings)}" for name in config["loss"] if name not in settings]
    for name in ("beta", "transmission", "airlight", "hidden"):
        if not 0 <= config["loss"].get(name, 0.0) < math.inf:
            problems.append(f"loss.{name} is {config['loss'][name]}: use 0 or more")
    names = config["optim"].get("trainable", ())
    if not all(isinstance(name, str) for name in names):
        problems.append(f"optim.trainable is {names}: use names of modules, e.g. ('mspe_fm',), or () for all")
    if not (config["train"]["steps"] or config["train"]["epochs"]):
        problems.append("train.steps and train.epochs are both 0: set one")
    kinds, known = config["data"]["haze"]["kinds"], (*HAZE_KINDS, "stored")
    problems += [f"data.haze.kinds has {kind!r}: use {', '.join(known)}" for kind in kinds if kind not in known]
    if not kinds or isinstance(kinds, str):
        problems = ["data.haze.kinds is not a list of names: use e.g. ('msrs_release',)"]
    for name, low in (("permute_chance", 0), ("min_scale", 0.01)):  # configs of older runs have neither
        value = config["data"].get(name, 1)
        if not low <= value <= 1:
            problems.append(f"data.{name} is {value}: use {low:g} to 1")
    size = config["data"].get("whole_size", ())
    sizes = whole_sizes(size)
    if not all(len(sides) == 2 and all(type(n) is int and n > 0 for n in sides) for sides in sizes):
        problems.append(f"data.whole_size is {size}: use (height, width), several of these, or () for crops")
    elif config["data"]["rotations"] and any(height != width for height, width in sizes):
        problems.append("data.rotations turns whole images of another height than width: turn it off, or use crops")
    if with_truth != (config["model"].get("reconstruction") == "physical"):
        problems.append("data.with_truth and model.reconstruction='physical' go together: set both or neither")
    if with_truth and (not sizes or "stored" in kinds):
        problems.append("data.with_truth needs a data.whole_size, and haze that is made here: leave 'stored' out")
    window = config["data"].get("window", (1.0, 1.0))
    if not (len(window) == 2 and 0 < window[0] <= window[1] <= 1):
        problems.append(f"data.window is {window}: give (low, high) above 0 and up to 1")
    try:
        parse_percentiles(config["data"].get("infrared_percentiles", "none"))
    except UserError as error:
        problems.append(f"data.infrared_percentiles: {error}")
    problems += degrade.problems_of(config["data"].get("degrade", {}))
    problems += relight.problems_of(config["data"].get("relight", {}))
    if config["data"].get("relight", {}).get("chance") and "stored" in kinds:
        problems.append("data.relight changes clear images, but stored haze keeps its light: set its chance to 0")
    problems += _problems_of_ranges(config["data"]["haze"]["ranges"])
    if "depth" in kinds and config["data"]["source"] == "pairs":
        data = config["data"]
        if data["depth_meaning"] not in DEPTH_MEANINGS or not 0 < data["depth_scale"] < math.inf:
            problems.append(
                "data.haze.kinds has 'depth': give a root or data.folders with depth maps, and say what they hold by "
                f"data.depth_meaning ({', '.join(DEPTH_MEANINGS)}) and a data.depth_scale > 0; or use another kind"
            )
    if problems:
        raise UserError("; ".join(problems))


def _problems_of_ranges(ranges: Mapping[str, Any]) -> list[str]:
    problems = []
    for kind, of_kind in ranges.items():
        try:
            merged_ranges(kind, of_kind)
        except UserError as error:
            problems.append(f"data.haze.ranges: {error}")
    return problems
