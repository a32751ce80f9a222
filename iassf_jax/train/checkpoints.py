"""Checkpoints of a run (Orbax): parameters, their average, optimizer, step and data state, saved together."""

import contextlib
import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from iassf_jax.errors import UserError
from iassf_jax.models.parameters import check_tree
from iassf_jax.train import devices
from iassf_jax.weights.renamed import current_tree, former_tree

_FOLDER, _ASIDE = "checkpoints", "damaged_checkpoints"


class DamagedCheckpoint(UserError):
    """Files of a checkpoint are missing, cut or changed."""


class Checkpoints:
    """The checkpoints in a run's folder. The newest `keep` stay, and each whose step is a multiple of `keep_every`."""

    def __init__(self, workdir: str | Path, keep: int = 2, keep_every: int = 0) -> None:
        for name in ("absl", "asyncio"):  # what Orbax's threads and tasks meet is raised here too
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _drop_closed_loops()
        policies = [checkpoint_managers.LatestN(keep)]
        if keep_every:
            policies.append(checkpoint_managers.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies))
        self.directory = Path(workdir).absolute() / _FOLDER
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except OSError as error:
            raise UserError(
                f"{self.directory}: cannot be written ({error.strerror}): choose another --workdir"
            ) from None

    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step; None where there is none."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Of all complete checkpoints, the newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def set_aside(self, step: int) -> Path:
        """Moves a damaged checkpoint out of the way, to the folder that is given back; all processes call it."""
        target = self.directory.with_name(_ASIDE) / f"{step}-{time.time_ns()}"
        devices.wait_for_all(f"before checkpoint {step} moves")
        try:
            if devices.is_first():
                target.parent.mkdir(exist_ok=True)
                (self.directory / str(step)).rename(target)
        except OSError as error:
            words = f"is damaged and cannot be moved away ({error.strerror}): remove that folder"
            raise UserError(f"{self.directory / str(step)}: {words}") from None
        devices.wait_for_all(f"after checkpoint {step} moved")
        self._manager.reload()
        return target

    def save(self, step: int, trees: dict[str, Any], data_state: dict[str, Any]) -> None:
        """Saves in the background; a checkpoint that is not complete never counts as one.

        Args:
            step: number of finished steps.
            trees: name -> tree of arrays (`params`, `opt_state`, perhaps `ema`).
            data_state: what the data iterator needs to go on, JSON-able.
        """
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        with self._disk_errors_told():
            self._manager.save(step, args=ocp.args.Composite(**items, data=ocp.args.JsonSave(data_state)), force=True)

    def restore(self, step: int, trees: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reads the checkpoint of a step.

        Args:
            step: of the checkpoint.
            trees: name -> tree of arrays or shapes like those that were saved.

        Returns:
            The trees and the data state.

        Raises:
            DamagedCheckpoint: it cannot be read.
            UserError: names or shapes differ; all of them are listed.
        """
        restored = {name: self.restore_tree(step, name, tree) for name, tree in trees.items()}
        with self._damage_told(step):
            data = self._manager.restore(step, args=ocp.args.Composite(data=ocp.args.JsonRestore()))["data"]
        return restored, data

    def restore_tree(self, step: int, name: str, tree: Any) -> Any:
        """One item of the checkpoint; see `restore`."""
        where = self.directory / str(step) / name
        if not where.is_dir() and name == "params":
            raise DamagedCheckpoint(f"{where.parent}: is damaged: remove that folder to go on from the one before")
        if not where.is_dir():
            raise UserError(
                f"{where.parent}: the checkpoint has no {name}: use the settings that it was trained with; if it holds "
                "weights alone, give it as --config.init_from, with another --workdir"
            )
        checkpointer = ocp.StandardCheckpointer()
        # Where the tree's arrays lie, or onto the device at hand: Orbax would look for the one that it was saved from.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None) or here), tree
        )
        with self._damage_told(step):
            found = checkpointer.metadata(where).item_metadata.tree
        check_tree(_plain(abstract), _plain(found), str(where))
        with self._damage_told(step):
            return checkpointer.restore(where, abstract)

    @contextlib.contextmanager
    def _damage_told(self, step: int) -> Iterator[None]:
        try:
            yield
        except (UserError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception:  # on damaged files, Orbax raises anything, and plain Exception too
            where = self.directory / str(step)
            raise DamagedCheckpoint(f"{where}: is damaged: remove that folder to go on from the one before") from None

    @contextlib.contextmanager
    def _disk_errors_told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            known = os.strerror(errno.ENOSPC)
            words = known if known in str(error) else str(error).splitlines()[0]
            raise UserError(f"{self.directory}: cannot save ({words}): free space there and start again") from None

    def close(self) -> None:
        """Waits until what was saved is complete."""
        try:
            with self._disk_errors_told():
                self._manager.wait_until_finished()
        finally:
            with contextlib.suppress(OSError, ValueError):  # told above
                self._manager.close()


def _drop_closed_loops() -> None:
    """Where a disk is full, TensorStore's threads answer to a loop that Orbax has closed by then: not worth a word."""
    before = sys.unraisablehook
    if getattr(before, "drops_closed_loops", False):
        return

    def hook(met: Any) -> None:
        if not (met.exc_type is RuntimeError and str(met.exc_value) == "Event loop is closed"):
            before(met)

    hook.drops_closed_loops = True
    sys.unraisablehook = hook


def _plain(tree: Any) -> Any:
    """Tuples as lists and named tuples as dicts, the form in which Orbax describes a tree."""
    if hasattr(tree, "_asdict"):
        return {name: _plain(x) for name, x in tree._asdict().items() if x is not None}
    if isinstance(tree, tuple | list):
        return [_plain(x) for x in tree]
    if isinstance(tree, dict):
        return {name: _plain(x) for name, x in tree.items()}
    return tree


def newest_checkpoint(workdir: str | Path) -> int | None:
    """The step of a run's newest complete checkpoint; None where there is none. Makes nothing."""
    steps = (int(path.name) for path in (Path(workdir) / _FOLDER).glob("*") if path.name.isdigit())
    return max(steps, default=None)


def load_weights(workdir: str | Path, expected: Any) -> tuple[Any, int]:
    """The newest weights of a run: the averaged ones where the run keeps an average.

    Args:
        workdir: folder of the run.
        expected: parameter tree (arrays or shapes) of the network.

    Returns:
        The parameters and the step.
    """
    if not (Path(workdir) / _FOLDER).is_dir():
        raise UserError(f"{workdir}: no {_FOLDER} there: give the --workdir of a training run")
    checkpoints = Checkpoints(workdir)
    step = checkpoints.latest_step()
    if step is None:
        raise UserError(f"{workdir}: no checkpoint is complete yet: train longer")
    name = "ema" if (checkpoints.directory / str(step) / "ema").is_dir() else "params"
    try:
        weights = checkpoints.restore_tree(step, name, expected)
    except UserError:
        weights = _restored_by_former_names(checkpoints, step, name, expected)
    checkpoints.close()
    return weights, step


def _restored_by_former_names(checkpoints: Checkpoints, step: int, name: str, expected: Any) -> Any:
    former = former_tree(expected)
    if former == expected:
        return checkpoints.restore_tree(step, name, expected)
    try:
        found = checkpoints.restore_tree(step, name, former)
    except UserError:
        return checkpoints.restore_tree(step, name, expected)  # raises, with today's names
    return current_tree(found, expected)
