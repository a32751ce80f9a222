"""This package's side of the benchmark."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.cases import Case
from configs import msrs, release
from iassf_jax.evaluate.cost import count_products
from iassf_jax.fuse.network import make_predictor
from iassf_jax.models import build_model
from iassf_jax.models.fast.plain import portable_operations
from iassf_jax.models.haze_density import haze_density
from iassf_jax.models.parameters import abstract_parameters
from iassf_jax.models.release.haze import release_haze_density
from iassf_jax.models.restormer import RestormerBlock
from iassf_jax.runtime import compiler_options, trim_after_compiling
from iassf_jax.weights import shipped
from iassf_jax.weights.formats import read_weights


class Work:
    """A compiled program and its arguments."""

    def __init__(self, case: Case, name: str) -> None:
        """Builds and compiles the program."""
        trim_after_compiling()
        self.keeps_state = case.task == "train step"
        if name == "default":
            self.program, self.args, self.counted = _default_weights(case)
            return
        function, self.args = program_of(case, name)
        self.program = function.lower(*self.args).compile(compiler_options())
        self.counted = function.__wrapped__, self.args

    def __call__(self) -> None:
        """One run, waited for."""
        out = jax.block_until_ready(self.program(*self.args))
        if self.keeps_state:
            self.args = (out[0], *self.args[1:])

    def cost(self) -> dict[str, float]:
        """Operations of products and convolutions (2 a multiply-add), and the bytes that these must move."""
        with portable_operations():  # what kernels compute cannot be counted
            products, moved = count_products(self.counted[0], *self.counted[1])
        return {"operations": 2.0 * products, "bytes": float(moved)}


def _default_weights(case: Case) -> tuple[Any, tuple, tuple]:
    """From NumPy images of 8 bits to NumPy images, as `fuse` does; counted is the network, at its working size."""
    weights = read_weights([shipped.DEFAULT])
    model = build_model(weights.model)
    rng = np.random.default_rng(0)
    images = tuple(rng.integers(0, 256, (case.batch, case.height, case.width, *c), np.uint8) for c in ((3,), ()))
    network = functools.partial(model.apply, method="at_working_size")
    return make_predictor(model, weights.params), images, (network, (weights.params, *_pair(case)))


def program_of(case: Case, name: str) -> tuple[Any, tuple]:
    """A contender's jitted function and its arguments."""
    build = {"inference": inference, "train step": _train_step, "haze density": _haze, "Restormer block": _block}
    return build[case.task](case, name)


def peak_device_memory() -> int | None:
    """Bytes on a GPU so far; None on a CPU."""
    stats = jax.devices()[0].memory_stats()
    return stats and stats.get("peak_bytes_in_use")


def _network(name: str) -> Any:
    config = (msrs if name.startswith("iassf") else release).get_config()
    settings = dict(config.model)
    if name.endswith("_bf16"):
        settings["dtype"] = "bfloat16"
    return build_model(settings), config


def _pair(case: Case) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    shape = (case.batch, case.height, case.width)
    return tuple(jnp.asarray(rng.uniform(-1, 1, (*shape, c)), jnp.float32) for c in (3, 1))


def inference(case: Case, name: str) -> tuple[Any, tuple]:
    """A network as a jitted function to its two images, and the function's arguments."""
    model, _ = _network(name)
    pair = _pair(case)
    # As loaded weights are: to initialise a network takes more memory than to run it.
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: jnp.asarray(0.05 * rng.standard_normal(x.shape, np.float32), x.dtype), abstract_parameters(model)
    )

    def images(variables: Any, visible: jax.Array, infrared: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = model.apply(variables, visible, infrared)
        return out["dehazed"], out["fused"]

    return jax.jit(images), (variables, *pair)


def _train_step(case: Case, name: str) -> tuple[Any, tuple]:
    from iassf_jax.train.step import init_state, make_optimizer, train_step  # Optax, which inference does not load

    model, config = _network(name)
    optimizer, schedule = make_optimizer(config.optim.to_dict(), 54_000)
    state = init_state(model, optimizer, 0, keep_ema=False)
    hazy, infrared = _pair(case)
    batch = {"hazy": hazy, "clear": hazy[:, ::-1], "infrared": infrared}
    static = {"model": model, "optimizer": optimizer, "schedule": schedule, "ema_decay": 0.0}
    return jax.jit(functools.partial(train_step, **static), donate_argnums=0), (state, batch)


def _haze(case: Case, name: str) -> tuple[Any, tuple]:
    features = jax.random.normal(jax.random.key(0), (case.batch, case.height, case.width, 24))
    return jax.jit(haze_density if name == "iassf" else release_haze_density), (features,)


def _block(case: Case, name: str) -> tuple[Any, tuple]:
    x = jax.random.normal(jax.random.key(0), (case.batch, case.height, case.width, 48))
    block = RestormerBlock(2)
    return jax.jit(block.apply), (jax.jit(block.init)(jax.random.key(0), x[:, :16, :16]), x)
