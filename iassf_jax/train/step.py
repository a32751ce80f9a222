"""The pure part of training: optimizer, state and one step."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import FrozenConfigDict

from iassf_jax.errors import UserError
from iassf_jax.losses import haze_loss, paper_loss
from iassf_jax.models.fast.devices import batches_cut_over
from iassf_jax.models.fast.plain import portable_operations
from iassf_jax.models.parameters import smallest_pair
from iassf_jax.runtime import jit_for_device, run_once
from iassf_jax.train.devices import everywhere

Batch = Mapping[str, jax.Array]


class TrainState(flax.struct.PyTreeNode):
    """Everything that a step changes. `ema` is an empty tree where no average is kept."""

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any


def learning_rate_schedule(optim: Mapping[str, Any], num_updates: int, epoch: int = 1) -> optax.Schedule:
    """Linear warm-up, then cosine from `learning_rate` to `min_learning_rate` over the remaining updates.

    Args:
        optim: the section of a config.
        num_updates: length of the schedule.
        epoch: updates an epoch; the cosine goes on once an epoch where `optim.schedule_every` is "epoch".
    """
    warmup = optim["warmup_steps"]
    ratio = optim["min_learning_rate"] / optim["learning_rate"]
    cosine = optax.cosine_decay_schedule(optim["learning_rate"], max(1, num_updates - warmup), ratio)
    after = cosine
    if optim["schedule_every"] == "epoch":

        def after(count: jax.Array | int) -> jax.Array:
            return cosine(jnp.maximum((count + warmup) // epoch * epoch - warmup, 0))

    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, optim["learning_rate"], warmup), after], [warmup])


def trained(params: Any, names: Sequence[str]) -> Any:
    """Which parameters are trained: a tree of bools; all of them where no name is given.

    Args:
        params: a network's.
        names: of modules or parameters, or paths such as "mspe_fm/to_image"; what lies in one of them is trained, the
            rest stays as it is.

    Raises:
        UserError: a name that the network does not have.
    """
    paths = ["/".join(["", *(key.key for key in path), ""]) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    if unknown := [name for name in names if not any(f"/{name}/" in path for path in paths)]:
        missing, modules = (", ".join(sorted(x)) for x in (unknown, params["params"]))
        raise UserError(f"optim.trainable: the network has no {missing}: use names of modules, as {modules}")
    chosen = [not names or any(f"/{name}/" in path for name in names) for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), chosen)


def _labels(params: Any, names: Sequence[str]) -> Any:
    return jax.tree.map(lambda own: "trained" if own else "frozen", trained(params, names))


def make_optimizer(
    optim: Mapping[str, Any], num_steps: int, steps_per_epoch: int = 1
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """AdamW with a cosine schedule; clipping, frozen parameters and accumulation where the config asks for them.

    Frozen parameters stay as they are, whatever their gradients, and their gradients count for nothing in clipping.

    Returns:
        The optimizer and its learning rate by step (not by update).
    """
    every = optim["accumulate_steps"]
    schedule = learning_rate_schedule(optim, num_steps // every, max(1, steps_per_epoch // every))
    optimizer = optax.adamw(
        schedule, optim["beta1"], optim["beta2"], optim["epsilon"], weight_decay=optim["weight_decay"]
    )
    if optim["clip_norm"]:
        optimizer = optax.chain(optax.clip_by_global_norm(optim["clip_norm"]), optimizer)
    if names := tuple(optim["trainable"]):
        parts = {"trained": optimizer, "frozen": optax.set_to_zero()}
        optimizer = optax.partition(parts, functools.partial(_labels, names=names))
    if every > 1:
        optimizer = optax.MultiSteps(optimizer, every).gradient_transformation()
    return optimizer, lambda step: schedule(step // every)


def init_state(
    model: nn.Module, optimizer: optax.GradientTransformation, seed: int, keep_ema: bool, params: Any = None
) -> TrainState:
    """The state before the first step.

    Args:
        model, optimizer: what to train and how.
        seed: of fresh weights, which depend on nothing else.
        keep_ema: whether the parameters' running average is kept.
        params: weights to start from in place of fresh ones.
    """

    def start() -> TrainState:
        first = model.init(jax.random.key(seed), *smallest_pair(model)) if params is None else params
        return TrainState(jnp.zeros((), jnp.int32), first, optimizer.init(first), first if keep_ema else {})

    with portable_operations():
        state = run_once(start)
    return everywhere(state)  # copies: the state's buffers are donated, and none may be donated twice


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    loss: Mapping[str, Any] = FrozenConfigDict(),
    ema_decay: float,
    accumulate_steps: int = 1,
    trainable: tuple[str, ...] = (),
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of gradient descent on the loss of Eq. 6.

    Args:
        state: what to start from.
        batch: `hazy`, `clear` float32[B, H, W, 3], `infrared` float32[B, H, W, 1], in [-1, 1]; with
            `transmission` float32[B, H, W] and `airlight` float32[B, H, W, 3] in 0..1 the loss is `haze_loss`.
        model, optimizer, schedule: what to train and how.
        loss: settings of the loss, default the paper's; hashable.
        ema_decay: of the parameters' running average, 0 keeps none. Early updates use less: (1 + n) / (10 + n).
        accumulate_steps: steps an update of the optimizer, by which the average goes too.
        trainable: names of the modules that the optimizer trains; the gradients of the others are not computed.

    Returns:
        The new state and the metrics `loss`, its terms, `gradient_norm`, `learning_rate`.
    """

    def objective(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        params = jax.tree.map(lambda x, own: x if own else jax.lax.stop_gradient(x), params, trained(params, trainable))
        out = model.apply(params, batch["hazy"], batch["infrared"])
        return loss_of(model, out, batch, loss)

    gradients, metrics = jax.grad(objective, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema_decay:
        n = (state.step // accumulate_steps).astype(jnp.float32)
        decay = jnp.minimum(ema_decay, (1 + n) / (10 + n))
        decay = jnp.where((state.step + 1) % accumulate_steps, 1.0, decay)
        ema = jax.tree.map(lambda average, new: average + (1 - decay) * (new - average), ema, params)
    metrics["gradient_norm"] = optax.tree.norm(gradients)
    metrics["learning_rate"] = jnp.asarray(schedule(state.step), jnp.float32)
    return TrainState(state.step + 1, params, opt_state, ema), metrics


def loss_of(
    model: nn.Module, out: Mapping[str, jax.Array], batch: Batch, settings: Mapping[str, Any]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a network's outputs and its terms; which one follows from what the batch knows of the haze."""
    if "transmission" in batch:
        return haze_loss(out, batch, bound=model.bound, **settings)
    return paper_loss(out["dehazed"], out["fused"], batch["clear"], batch["infrared"], **settings)


@functools.cache
def jit_train_step(placement: jax.sharding.NamedSharding) -> Callable[..., Any]:
    """`train_step` for states of that placement, which the new state keeps: one program, wherever a state is from."""

    @functools.wraps(train_step)
    def placed_step(state: TrainState, batch: Batch, **settings: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        with batches_cut_over(placement.mesh):
            return train_step(state, batch, **settings)

    return jit_for_device(
        placed_step,
        donate_argnums=0,
        static_argnames=("model", "optimizer", "schedule", "loss", "ema_decay", "accumulate_steps", "trainable"),
        out_shardings=placement,
    )
