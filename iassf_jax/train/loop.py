"""A training run: the loop around `training.train_step`, with checkpoints, logs, validation and clean stops."""

import contextlib
import functools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from iassf_jax.data import pipeline
from iassf_jax.data.layouts import PairList, format_problems
from iassf_jax.errors import UserError
from iassf_jax.evaluate import scores as evaluation
from iassf_jax.fuse.network import make_predictor
from iassf_jax.locks import locked
from iassf_jax.metrics.fusion_scores import means
from iassf_jax.models import build_model
from iassf_jax.models.parameters import abstract_parameters
from iassf_jax.report.pictures import sample_grid
from iassf_jax.runtime import CompileClock
from iassf_jax.train import devices
from iassf_jax.train import step as training
from iassf_jax.train.checkpoints import Checkpoints, DamagedCheckpoint, newest_checkpoint
from iassf_jax.train.config_checks import check_config, check_workers
from iassf_jax.train.log import NoLog, RunLog
from iassf_jax.train.run_config import check_same_run, save_config
from iassf_jax.train.stopping import Stopped, StopRequest
from iassf_jax.weights.fit import fit_weights
from iassf_jax.weights.formats import read_weights


class Diverged(UserError):
    """The loss or gradient of a step is not finite; no checkpoint holds anything of that step."""


class Run:
    """The parts of one run; `train_and_evaluate` puts them together."""

    def __init__(self, config: ConfigDict, workdir: Path) -> None:
        """Raises UserError for settings or data that make no run."""
        devices.check_batch_size(config.train.batch_size)
        params = _starting_weights(config, workdir)
        self.config = config
        self.workdir = workdir
        self.source, found = pipeline.make_source(config.data, "train")
        pipeline.check_stored_haze(self.source, config.data.haze)
        no_pairs = ((), PairList((), ()))
        self.val_source, found_val = pipeline.make_source(config.data, "val") if config.eval.num_images else no_pairs
        self.problems = found.problems + found_val.problems
        self.num_steps = num_steps(config.train, len(self.source))
        self.model = build_model(config.model)
        epoch = max(1, len(self.source) // config.train.batch_size)
        optimizer, schedule = training.make_optimizer(config.optim, self.num_steps, epoch)
        self.state = training.init_state(self.model, optimizer, config.seed, config.train.ema_decay > 0, params)
        self.step_function = functools.partial(
            training.jit_train_step(devices.whole()),
            model=self.model,
            optimizer=optimizer,
            schedule=schedule,
            loss=FrozenConfigDict(config.loss),
            ema_decay=config.train.ema_decay,
            accumulate_steps=config.optim.accumulate_steps,
            trainable=tuple(config.optim.trainable),
        )
        self.iterator = pipeline.train_iterator(
            config.data, self.source, config.train.batch_size, config.seed, (jax.process_index(), jax.process_count())
        )
        self.checkpoints: Checkpoints | None = None
        self.notes: list[str] = []

    def trees(self) -> dict[str, Any]:
        """The state by item of the checkpoint."""
        trees = {"params": self.state.params, "opt_state": self.state.opt_state}
        return trees | ({"ema": self.state.ema} if self.state.ema else {})

    def resume(self) -> int:
        """Continues from the newest checkpoint, if there is one; returns the step.

        Damaged ones are moved aside, and told in `notes`, where an older one is whole.
        """
        damaged: list[int] = []
        steps = self.checkpoints.steps()
        for step in steps:
            try:
                trees, data = self.checkpoints.restore(step, self.trees())
                break
            except DamagedCheckpoint:
                damaged.append(step)
        else:
            if not damaged:
                return 0
            where = self.checkpoints.directory
            raise UserError(f"{where}: every checkpoint is damaged: remove that folder to train from the start")
        self._check_same_data(data)
        step_array = devices.everywhere(np.int32(step))
        self.state = training.TrainState(step_array, trees["params"], trees["opt_state"], trees.get("ema", {}))
        self.iterator.set_state(data["iterator"])
        for bad in damaged:
            self.notes.append(f"checkpoint {bad} is damaged: moved to {self.checkpoints.set_aside(bad)}")
        return step

    def _data_identity(self) -> dict[str, Any]:
        """What must be the same for the iterator's state to mean the same."""
        config = self.config
        return {
            "data.num_workers": config.data.num_workers,
            "train.batch_size": config.train.batch_size,
            "seed": config.seed,
            "number of training pairs": len(self.source),
        }

    def _check_same_data(self, data: dict[str, Any]) -> None:
        now = self._data_identity()
        changed = [f"{name} was {was}, is {now[name]}" for name, was in data["identity"].items() if was != now[name]]
        if changed:
            raise UserError(
                f"{self.workdir}: cannot resume, {'; '.join(changed)}: restore that, or start in another --workdir"
            )

    def save(self, step: int) -> None:
        """Saves the state after `step` steps, and where the data stands."""
        data = {"identity": self._data_identity(), "iterator": self.iterator.get_state()}
        self.checkpoints.save(step, self.trees(), data)

    def stems(self, batch: dict[str, np.ndarray]) -> str:
        """The file names of a batch."""
        return ", ".join(self.source.stems[i] for i in batch["index"])

    def validate(self, step: int, log: RunLog, stop: StopRequest) -> None:
        """Scores validation pairs, which training never sees, each process its share, and draws the first of them.

        Nothing comes of it where the run shall stop.
        """
        settings = self.config.eval
        if not settings.num_images:
            return
        weights = devices.of_this_process(self.state.ema or self.state.params)
        predictor = make_predictor(self.model, weights, settings.pad_multiple)
        indices = evaluation.spread(len(self.val_source), settings.num_images)
        indices = np.array_split(indices, jax.process_count())[jax.process_index()].tolist()
        examples = (pipeline.whole_example(self.val_source, i, self.config.data.haze, settings.seed) for i in indices)
        scores, shown = [], []
        for result in log.bar(evaluation.predict(predictor, examples), len(indices), "validating"):
            if stop.in_midst():
                return
            scores.append(evaluation.score(result))
            if len(shown) < settings.num_samples:
                shown.append(result)
        names = evaluation.NAMES
        rows = devices.gathered(np.array([[row[name] for name in names] for row in scores]).reshape(-1, len(names)))
        of_pairs = {i: dict(zip(names, row, strict=True)) for i, row in enumerate(rows)}
        log.write(step, {f"val/{name}": mean for name, mean in means(of_pairs).items()})
        if shown:
            log.picture(step, "val", sample_grid(shown))


def num_steps(train: ConfigDict, num_pairs: int) -> int:
    """`train.steps` where it is set, else that of `train.epochs` passes over the data."""
    return train.steps or train.epochs * (num_pairs // train.batch_size)


class Pending:
    """Metrics of a step that may still be running; looked at one step late, so that the device never waits."""

    def __init__(self, run: Run, log: RunLog, start: int, clock: CompileClock) -> None:
        self._run, self._log, self._clock = run, log, clock
        self._waiting: tuple[int, dict[str, Any], dict[str, np.ndarray]] | None = None
        self._since, self._done = time.monotonic(), start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time that counts for no step."""
        before = time.monotonic() - self._clock.seconds
        yield
        self._since += time.monotonic() - self._clock.seconds - before

    def add(self, step: int, metrics: dict[str, Any], batch: dict[str, np.ndarray]) -> None:
        """Checks the step before and keeps this one."""
        self.flush()
        self._waiting = (step, metrics, batch)

    def flush(self) -> None:
        """Waits for the kept step; a loss that is not finite ends the run, and nothing made by it is saved."""
        if self._waiting is None:
            return
        (step, metrics, batch), self._waiting = self._waiting, None
        values = {f"train/{name}": float(value) for name, value in metrics.items()}
        loss, norm = values["train/loss"], values["train/gradient_norm"]
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(
                f"step {step}: loss {loss}, gradient norm {norm}, in the batch of {self._run.stems(batch)}: look at "
                "these files, or lower optim.learning_rate; no checkpoint holds anything of this step"
            )
        self._log.advance()
        if step % self._run.config.train.log_every == 0 or step == self._run.num_steps:
            now = time.monotonic() - self._clock.seconds  # of compiling, which says nothing about steps
            rate = (step - self._done) * self._run.config.train.batch_size / max(now - self._since, 1e-9)
            self._since, self._done = now, step
            self._log.write(step, {**values, "train/images_per_second": rate})


def train_and_evaluate(config: ConfigDict, workdir: str | Path, profile_steps: int = 0) -> training.TrainState:
    """Trains as the config says, or goes on from the newest checkpoint in `workdir`.

    Args:
        config: see `configs/msrs.py`.
        workdir: the run's folder: checkpoints, config.json, metrics.jsonl, TensorBoard events, sample pictures.
        profile_steps: writes a profiler trace of so many steps to `workdir/profile`.

    Returns:
        The last state.

    Raises:
        UserError: bad settings or data.
        Diverged: a loss that is not finite.
        Stopped: SIGTERM or Ctrl-C; the step is finished and saved.
    """
    workdir = Path(workdir)
    check_config(config)
    check_workers(config.data)
    if newest_checkpoint(workdir) is not None:
        check_same_run(workdir, config)
    with StopRequest() as stop:
        run = Run(config, workdir)
        try:
            with _held(workdir), _open_checkpoints(config, workdir) as run.checkpoints, CompileClock() as clock:
                start = run.resume()
                if devices.is_first():
                    save_config(workdir, config)
                with RunLog(workdir, start, run.num_steps) if devices.is_first() else NoLog() as log:
                    _announce(run, log, start)
                    _loop(run, log, stop, Pending(run, log, start, clock), start, profile_steps)
        finally:
            run.iterator.close()
    return run.state


def _held(workdir: Path) -> contextlib.AbstractContextManager[None]:
    """Keeps other runs out of the folder; the first of several processes does that for all."""
    return locked(workdir, "--workdir") if devices.is_first() else contextlib.nullcontext()


@contextlib.contextmanager
def _open_checkpoints(config: ConfigDict, workdir: Path) -> Iterator[Checkpoints]:
    checkpoints = Checkpoints(workdir, config.checkpoint.keep, config.checkpoint.keep_every)
    lost = False
    try:
        yield checkpoints
    except jax.errors.JaxRuntimeError:
        lost = jax.process_count() > 1  # one of them is gone, and a checkpoint under way would wait for it
        raise
    finally:
        if not lost:
            checkpoints.close()


def _starting_weights(config: ConfigDict, workdir: Path) -> Any:
    """The weights that `init_from` names, where there is no checkpoint yet; None for fresh ones.

    Where there is a checkpoint, zeros do until it is read.
    """
    if newest_checkpoint(workdir) is not None:
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract_parameters(build_model(config.model)))
    if not config.init_from:
        return None
    return fit_weights(read_weights([config.init_from]), config.model.to_dict(), config.seed)


def _announce(run: Run, log: RunLog, start: int) -> None:
    for note in run.notes:
        log.say(note)
    if run.problems:
        log.say(f"{len(run.problems)} files are left out:\n{format_problems(run.problems)}")
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    kind = f"{count} x {kind}" if count > 1 else kind
    fresh = f"training from {run.config.init_from} for" if run.config.init_from else "training for"
    words = f"resuming at step {start} of" if start else fresh
    if start >= run.num_steps:
        log.say(f"already trained for {start} steps: raise train.steps or train.epochs to train on")
        return
    pairs = f"{len(run.source)} training and {len(run.val_source)} validation pairs"
    log.say(f"{pairs}; {words} {run.num_steps} steps on {kind}")


def _loop(run: Run, log: RunLog, stop: StopRequest, pending: Pending, start: int, profile_steps: int) -> None:
    compiled: set[tuple[int, ...]] = set()
    due = functools.partial(_due, run.num_steps)
    if stop.in_midst():
        log.say("asked to stop: nothing was trained")
        raise Stopped
    if start and due(start, run.config.eval.every) and jax.process_count() == 1 and not log.is_validated(start):
        with pending.paused():  # what the run that saved this step was kept from
            run.validate(start, log, stop)
    for step, batch in _steps(run, start, profile_steps):
        is_new = (shape := batch["hazy"].shape) not in compiled
        with stop.at_once(is_new):
            if is_new:
                compiled.add(shape)
                size = f"{shape[2]} x {shape[1]} pixels"
                log.say(f"compiling the train step for {size} (about a minute, once per machine) ...")
            arrays = devices.global_batch({name: x for name, x in batch.items() if name != "index"})
            run.state, metrics = run.step_function(run.state, arrays)
        pending.add(step, metrics, batch)
        stopping = stop.now()
        if saved := due(step, run.config.checkpoint.every) or stopping:
            pending.flush()
            run.save(step)
        if due(step, run.config.eval.every) and not stopping:
            pending.flush()
            with pending.paused():
                run.validate(step, log, stop)
            stopping = stop.in_midst()
        if stopping:
            if not saved:  # asked while it validated
                pending.flush()
                run.save(step)
            log.say(f"asked to stop: saved step {step}; the same command goes on from there")
            raise Stopped
    pending.flush()


def _due(last: int, step: int, every: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def _steps(run: Run, start: int, profile_steps: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Step numbers from start + 1, each with its batch; the third step and on are profiled if asked for."""
    first = start + 3
    for step in range(start + 1, run.num_steps + 1):
        if profile_steps and step == first:
            jax.profiler.start_trace(str(run.workdir / "profile"))
        yield step, next(run.iterator)
        if profile_steps and step == min(first + profile_steps - 1, run.num_steps) and step >= first:
            jax.block_until_ready(run.state)
            jax.profiler.stop_trace()
