"""Fits a network's global modulations alone, all else frozen, to measurements of it (docs/weights.md)."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from iassf_jax.errors import UserError
from iassf_jax.measured_features import Measured, dehazed, last_convolution, measurements
from iassf_jax.metrics.psnr import psnr
from iassf_jax.models import build_model
from iassf_jax.models.iassf import IASSF
from iassf_jax.models.modulation import GlobalModulation, description_of
from iassf_jax.models.restoration import modulation_names
from iassf_jax.models.whole_image import GLOBALS
from iassf_jax.train.config_checks import check_config
from iassf_jax.train.log import RunLog
from iassf_jax.train.run_config import save_config
from iassf_jax.train.step import make_optimizer
from iassf_jax.weights.formats import Weights, read_weights, write_weights
from iassf_jax.weights.fresh_parts import with_global_modulation, without_global_modulation

WEIGHTS_FILE = "weights.safetensors"
REGIONS = ("wave", "grid")
_WHOLE = 50  # images that are looked at in one go, where no gradient is taken

Modulations = list[Mapping[str, Any]]


def fit_modulation(config: ConfigDict, workdir: str | Path) -> Weights:
    """Measures what the config says, fits fresh modulations, and writes `workdir/weights.safetensors`.

    A stopped call takes up the measurements that it finds in `workdir/measured`; the fit itself takes minutes and
    starts anew.

    Args:
        config: see `configs/msrs_modulation.py`.
        workdir: the run's folder.

    Returns:
        The weights with their new modulations.

    Raises:
        UserError: bad settings, weights of another network, bad data, or a file that cannot be written.
    """
    workdir = Path(workdir)
    _check(config)
    target = workdir / WEIGHTS_FILE
    if target.exists():
        raise UserError(f"{target}: exists already: choose another --workdir, or remove it")
    frozen = _frozen_network(config)
    take = functools.partial(measurements, seed=config.seed, weights=frozen, folder=workdir / "measured")
    measured = take(config.data, split="train", count=config.fit.images, name="train")
    if config.fit.scenes:
        scenes = take(_scenes(config), split="train", count=config.fit.scenes, name="scenes")
        measured = {name: np.concatenate([x, scenes[name]]) for name, x in measured.items()}
    held_out = take(_plain_inputs(config.data), split="val", count=config.fit.val_images, name="val")
    save_config(workdir, config)
    with RunLog(workdir, 0, config.train.steps) as log:
        weights = fit(frozen, measured, held_out, config, log)
    write_weights(weights, target)
    return weights


def fit(weights: Weights, measured: Measured, held_out: Measured, config: ConfigDict, log: RunLog) -> Weights:
    """Fits fresh modulations to measurements of a network without.

    The loss is the mean of the images' PSNR below `fit.ceiling`, and `fit.harm` times the square of what an image has
    less than without modulation. The optimizer sees descriptions whitened by their covariance over the
    measured images: means and extremes of a scene go up and down together, and what tells hazes apart is the little by
    which they do not. In the end that is folded into the first layer of each.

    Args:
        weights: of the paper's network, without modulations.
        measured: to fit to, float16 as `measured_features.measure` gives them.
        held_out: to score, for the log.
        config: its `fit`, `optim`, `train`, `model.modulation_passes`, `seed` and `data.horizontal_flip` count.
        log: where losses and scores go.

    Returns:
        The weights with the modulations.
    """
    fresh = with_global_modulation(weights, config.model.modulation_passes, config.seed)
    names = modulation_names(config.model.modulation_passes)
    regions = starting_regions(config.fit.regions)
    modulations = [{**fresh.params["params"]["ia_frm"][name], "regions": regions} for name in names]
    convolution = last_convolution(weights)
    fold = whitening(descriptions(measured, modulations[0], convolution), config.fit.smoothing)
    optimizer, _ = make_optimizer({**config.optim, "trainable": ()}, config.train.steps)

    def loss(modulations: Modulations, batch: Measured) -> jax.Array:
        before, *_, after = dehazed([fold(x) for x in modulations], convolution, batch)
        before, after = (_psnr_below(config.fit.ceiling, x, batch["clear"]) for x in (before, after))
        return (config.fit.harm * jnp.square(jax.nn.relu(before - after)) - after).mean()

    @jax.jit
    def step(modulations: Modulations, state: Any, batch: Measured) -> tuple[Modulations, Any, jax.Array]:
        value, gradients = jax.value_and_grad(loss)(modulations, batch)
        updates, state = optimizer.update(gradients, state, modulations)
        return optax.apply_updates(modulations, updates), state, value

    @jax.jit
    def score(modulations: Modulations, batch: Measured) -> list[jax.Array]:
        found = dehazed([fold(x) for x in modulations], convolution, batch)
        return [psnr(jnp.clip(x, -1, 1), batch["clear"], data_range=2.0) for x in found]

    state = optimizer.init(modulations)
    for number, batch in enumerate(_batches(measured, config), start=1):
        modulations, state, value = step(modulations, state, batch)
        log.advance()
        if number % config.train.log_every == 0 or number == config.train.steps:
            before, *_, after = _over_all(functools.partial(score, modulations), held_out)
            told = {"psnr_before": before.mean(), "psnr": after.mean(), "worse": (after < before - 0.1).mean()}
            log.write(number, {"train/loss": float(value), **{f"val/{name}": x for name, x in told.items()}})
    params = {**fresh.params["params"]}
    found = {name: jax.device_get(fold(x)) for name, x in zip(names, modulations, strict=True)}
    params["ia_frm"] = {**params["ia_frm"], **found}
    source = {**weights.source, "step": config.train.steps}
    return dataclasses.replace(fresh, params={**fresh.params, "params": params}, source=source)


def starting_regions(kind: str) -> np.ndarray:
    """Where regions lie before they are trained: float32[8, 8, 6], the `regions` of a `GlobalModulation`.

    Args:
        kind: "wave": six phases of the authors' haze, a wave along the diagonal; "grid": three rows of two.
    """
    module = GlobalModulation()
    y, x = (np.mgrid[: module.region_size, : module.region_size] + 0.5) / module.region_size
    numbers = np.arange(module.regions)
    if kind == "wave":
        phase = 2 * np.pi * (3 * y + 4 * x) / 7  # (x + y) / (H + W) of an image of 4:3
        return np.float32(2 * np.cos(phase[..., None] - 2 * np.pi * numbers / module.regions))
    rows, columns = module.regions // 2, 2
    down, across = (numbers // columns + 0.5) / rows, (numbers % columns + 0.5) / columns
    distance = ((y[..., None] - down) * rows) ** 2 + ((x[..., None] - across) * columns) ** 2
    return np.float32(-1.5 * distance)


def descriptions(measured: Measured, modulation: Mapping[str, Any], convolution: Mapping[str, Any]) -> np.ndarray:
    """What a `GlobalModulation` with these parameters sees of each image before it modulates: float32[N, numbers]."""

    @jax.jit
    def describe(batch: Measured) -> list[jax.Array]:
        image = dehazed([], convolution, batch)[0]
        seen = (jnp.zeros(batch["terms"].shape[:-1]), jnp.asarray(batch["hazy"], jnp.float32), image)
        _, found = GlobalModulation().apply({"params": modulation}, *seen, mutable=[GLOBALS])
        return [description_of(found[GLOBALS]["description"])]

    return _over_all(describe, measured)[0]


def whitening(descriptions: np.ndarray, smoothing: float) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """From a modulation's parameters that read whitened descriptions to those that read them as they are.

    Args:
        descriptions: float32[N, numbers], whose mean is to be 0 and whose covariance the unit matrix.
        smoothing: this share of the mean eigenvalue is added to each, so that noise is not made as large as the rest.
    """
    mean = descriptions.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh(np.cov((descriptions - mean).T))
    matrix = jnp.float32(vectors / np.sqrt(eigenvalues + smoothing * eigenvalues.mean()))

    def fold(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        hidden = parameters["hidden"]
        kernel = matrix @ hidden["kernel"]
        return {**parameters, "hidden": {"kernel": kernel, "bias": hidden["bias"] - mean @ kernel}}

    return fold


def _psnr_below(ceiling: float, image: jax.Array, clear: np.ndarray) -> jax.Array:
    """PSNR in dB, levelled off before the ceiling: what is all but perfect counts little. float32[B]."""
    error = jnp.square(image - jnp.asarray(clear, jnp.float32)).mean(axis=(1, 2, 3))
    return 10 * jnp.log10(4 / (error + 4 * 10 ** (-ceiling / 10)))


def _batches(measured: Measured, config: ConfigDict) -> Iterator[Measured]:
    """One for each step; every second is mirrored where the data may be."""
    rng = np.random.default_rng(config.seed)
    count = len(measured["hazy"])
    for _ in range(config.train.steps):
        chosen = np.sort(rng.choice(count, min(count, config.train.batch_size), replace=False))
        batch = {name: x[chosen] for name, x in measured.items()}
        if config.data.horizontal_flip and rng.random() < 0.5:
            batch = {name: np.ascontiguousarray(x[:, :, ::-1]) for name, x in batch.items()}
        yield batch


def _over_all(function: Callable[[Measured], list[jax.Array]], measured: Measured) -> list[np.ndarray]:
    """What a function gives for all images, a part of them at a time."""
    count = len(measured["hazy"])
    parts = [{name: x[i : i + _WHOLE] for name, x in measured.items()} for i in range(0, count, _WHOLE)]
    return [np.concatenate(found) for found in zip(*(function(part) for part in parts), strict=True)]


def _frozen_network(config: ConfigDict) -> Weights:
    """The weights to start from, without modulations of their own."""
    if not config.init_from:
        raise UserError("init_from is empty: give the weights whose modulation is to be fitted, e.g. iassf-msrs")
    weights = read_weights([config.init_from])
    if not isinstance(build_model(weights.model), IASSF):
        raise UserError(f"{config.init_from}: holds the network {weights.model['name']}, which has no modulation")
    return without_global_modulation(weights)


def _scenes(config: ConfigDict) -> ConfigDict:
    """The data section, with generated scenes in place of the pairs; they are never mirrored here."""
    data = copy.deepcopy(config.data)
    with data.unlocked():
        height, width = data.scenes.height, data.scenes.width
        data.update(source="scenes", whole_size=(height, width), horizontal_flip=False)
        data.scenes.num_train = config.fit.scenes
    return data


def _plain_inputs(data: ConfigDict) -> ConfigDict:
    """The data section without anything drawn but the haze."""
    data = copy.deepcopy(data)
    with data.unlocked():
        data.update(permute_chance=0.0, horizontal_flip=False, vertical_flip=False, rotations=False, min_scale=1.0)
        data.degrade.update(noise_chance=0.0, jpeg_chance=0.0, infrared_chance=0.0)
        data.relight = {"chance": 0.0}
    return data


def _check(config: ConfigDict) -> None:
    check_config(config)
    if "fit" not in config:
        raise UserError("the config has no fit: start from configs/msrs_modulation.py")
    lowest = {"images": 2, "scenes": 0, "val_images": 1, "harm": 0}
    problems = [
        f"fit.{name} is {config.fit[name]}: use {low} or more"
        for name, low in lowest.items()
        if not config.fit[name] >= low  # nor NaN
    ]
    if not config.fit.ceiling > 0:
        problems.append(f"fit.ceiling is {config.fit.ceiling}: use a PSNR in dB, e.g. 56")
    if not config.fit.smoothing > 0:
        problems.append(f"fit.smoothing is {config.fit.smoothing}: use a number above 0, e.g. 0.1")
    if config.fit.regions not in REGIONS:
        problems.append(f"fit.regions is {config.fit.regions!r}: use one of {', '.join(REGIONS)}")
    if not config.train.steps:
        problems.append("train.steps is 0: set it, a fit has no epochs")
    if not config.data.whole_size:
        problems.append("data.whole_size is (): set it, a modulation sees whole images")
    if problems:
        raise UserError("; ".join(problems))
