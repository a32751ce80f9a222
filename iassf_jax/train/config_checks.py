"""Refuses configs that cannot work, before anything is made."""

import functools
import inspect
import math
import operator
import os
from collections.abc import Mapping
from typing import Any

from iassf_jax.data.augment import degrade, relight
from iassf_jax.data.haze import DEPTH_MEANINGS, HAZE_KINDS, merged_ranges
from iassf_jax.data.levels import parse_percentiles
from iassf_jax.data.pipeline import whole_sizes
from iassf_jax.errors import UserError
from iassf_jax.losses import haze_loss, paper_loss
from iassf_jax.train.run_config import ADDED

SCHEDULES = ("step", "epoch")
_MOST_STEPS = 2**31 - 1  # steps are counted in 32 bits
# Field -> smallest and largest value that makes sense.
_RANGES = {
    "loss.alpha": (0, 1e6),
    "optim.learning_rate": (1e-30, 10),
    "optim.min_learning_rate": (0, 10),
    "optim.beta1": (0, 0.9999999),
    "optim.beta2": (0, 0.9999999),
    "optim.epsilon": (1e-30, 1),
    "optim.warmup_steps": (0, _MOST_STEPS),
    "optim.weight_decay": (0, 100),
    "optim.clip_norm": (0, 1e6),
    "optim.accumulate_steps": (1, _MOST_STEPS),
    "train.batch_size": (1, 65536),
    "train.epochs": (0, _MOST_STEPS),
    "train.steps": (0, _MOST_STEPS),
    "train.ema_decay": (0, 0.9999999),
    "train.log_every": (1, _MOST_STEPS),
    "data.crop": (1, 8192),
    "data.num_workers": (0, 1024),
    "data.scenes.num_train": (1, _MOST_STEPS),
    "data.scenes.num_val": (1, _MOST_STEPS),
    "eval.every": (0, _MOST_STEPS),
    "eval.num_images": (0, _MOST_STEPS),
    "eval.num_samples": (0, 1024),
    "eval.batch_size": (1, 1024),
    "eval.pad_multiple": (0, 1024),
    "eval.seed": (0, 2**32 - 1),
    "checkpoint.every": (0, _MOST_STEPS),
    "checkpoint.keep": (1, _MOST_STEPS),
    "checkpoint.keep_every": (0, _MOST_STEPS),
    "seed": (0, 2**32 - 1),
}


def check_config(config: Mapping[str, Any]) -> None:
    """Looks at the numbers and names of a config.

    Raises:
        UserError: lists every one that cannot work.
    """
    _refuse_missing(config)
    problems = _problems_of_numbers(config)
    with_truth = config["data"]["with_truth"]
    problems += _problems_of_optim(config["optim"], config["train"])
    problems += _problems_of_loss(config["loss"], with_truth)
    if with_truth != (config["model"].get("reconstruction") == "physical"):
        problems.append("data.with_truth and model.reconstruction='physical' go together: set both or neither")
    problems += _problems_of_images(config["data"], with_truth)
    problems += _problems_of_haze(config["data"])
    if problems:
        raise UserError("; ".join(problems))


def _refuse_missing(config: Mapping[str, Any]) -> None:
    for name in (*_RANGES, *ADDED):
        section: Any = config
        for part in name.split("."):
            if part not in section:
                raise UserError(f"the config has no {name}: start from configs/msrs.py")
            section = section[part]


def _problems_of_numbers(config: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, (low, high) in _RANGES.items():
        value = functools.reduce(operator.getitem, name.split("."), config)
        if not low <= value <= high:
            problems.append(f"{name} is {value}: use {low:g} to {high:.10g}")
    return problems


def _problems_of_optim(optim: Mapping[str, Any], train: Mapping[str, Any]) -> list[str]:
    problems = []
    if optim["min_learning_rate"] > optim["learning_rate"]:
        problems.append("optim.min_learning_rate is above optim.learning_rate: lower it")
    if optim["schedule_every"] not in SCHEDULES:
        problems.append(f"optim.schedule_every: use one of {', '.join(SCHEDULES)}")
    names = optim["trainable"]
    if not all(isinstance(name, str) for name in names):
        problems.append(f"optim.trainable is {names}: use names of modules, e.g. ('mspe_fm',), or () for all")
    if not (train["steps"] or train["epochs"]):
        problems.append("train.steps and train.epochs are both 0: set one")
    return problems


def _problems_of_loss(loss: Mapping[str, Any], with_truth: bool) -> list[str]:
    parameters = inspect.signature(haze_loss if with_truth else paper_loss).parameters.values()
    settings = [x.name for x in parameters if x.kind is x.KEYWORD_ONLY and x.name not in ("alpha", "bound")]
    problems = [
        f"loss has {name!r}: use alpha, {', '.join(settings)}" for name in loss if name not in ("alpha", *settings)
    ]
    for name in settings:
        if name not in loss:
            problems.append(f"the config has no loss.{name}: start from configs/haze.py")
        elif not 0 <= loss[name] <= 1e6:
            problems.append(f"loss.{name} is {loss[name]}: use 0 to 1e6")
    return problems


def _problems_of_images(data: Mapping[str, Any], with_truth: bool) -> list[str]:
    problems = []
    for name, low in (("permute_chance", 0), ("min_scale", 0.01)):
        if not low <= data[name] <= 1:
            problems.append(f"data.{name} is {data[name]}: use {low:g} to 1")
    size = data["whole_size"]
    sizes = whole_sizes(size)
    if not all(len(sides) == 2 and all(type(n) is int and 1 <= n <= 8192 for n in sides) for sides in sizes):
        problems.append(f"data.whole_size is {size}: use (height, width) of 1 to 8192, several of these, or ()")
    elif data["rotations"] and any(height != width for height, width in sizes):
        problems.append("data.rotations turns whole images of another height than width: turn it off, or use crops")
    if with_truth and (not sizes or "stored" in data["haze"]["kinds"]):
        problems.append("data.with_truth needs a data.whole_size, and haze that is made here: leave 'stored' out")
    fading = data["infrared_fading"]
    if not (len(fading) == 2 and 0 <= fading[0] <= fading[1] <= 10):
        problems.append(f"data.infrared_fading is {fading}: give (low, high) of 0 to 10")
    window = data["window"]
    if not (len(window) == 2 and 0 < window[0] <= window[1] <= 1):
        problems.append(f"data.window is {window}: give (low, high) above 0 and up to 1")
    try:
        parse_percentiles(data["infrared_percentiles"])
    except UserError as error:
        problems.append(f"data.infrared_percentiles: {error}")
    return problems + degrade.problems_of(data["degrade"]) + relight.problems_of(data["relight"])


def _problems_of_haze(data: Mapping[str, Any]) -> list[str]:
    kinds, known = data["haze"]["kinds"], (*HAZE_KINDS, "stored")
    if not kinds or isinstance(kinds, str):
        return ["data.haze.kinds is not a list of names: use e.g. ('msrs_release',)"]
    problems = [f"data.haze.kinds has {kind!r}: use {', '.join(known)}" for kind in kinds if kind not in known]
    if data["relight"]["chance"] and "stored" in kinds:
        problems.append("data.relight changes clear images, but stored haze keeps its light: set its chance to 0")
    problems += _problems_of_ranges(data["haze"]["ranges"])
    said, known = data["depth_meaning"], ", ".join(DEPTH_MEANINGS)
    good = said in DEPTH_MEANINGS and 0 < data["depth_scale"] < math.inf
    if "depth" in kinds and data["source"] == "pairs" and not good:
        problems.append(
            "data.haze.kinds has 'depth': give a root or data.folders with depth maps, and say what they hold by "
            f"data.depth_meaning ({known}) and a data.depth_scale > 0; or use another kind"
        )
    elif said and not good:
        problems.append(f"data.depth_meaning is {said!r}, data.depth_scale {data['depth_scale']}: use {known}, and > 0")
    return problems


def check_workers(data: Mapping[str, Any]) -> None:
    """Refuses more worker processes than this machine's cores can serve: hundreds of them take all its memory."""
    most = max(8, 4 * (os.cpu_count() or 1))
    if data["num_workers"] > most:
        raise UserError(f"data.num_workers is {data['num_workers']}: use 0 to {most} on this machine")


def _problems_of_ranges(ranges: Mapping[str, Any]) -> list[str]:
    problems = []
    for kind, of_kind in ranges.items():
        try:
            merged_ranges(kind, of_kind)
        except UserError as error:
            problems.append(f"data.haze.ranges: {error}")
    return problems
