"""iassf-jax train, and train.py."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from iassf_jax.cli.flags import Flags
from iassf_jax.cli.interrupts import at_once

_FLAGS = Flags("Trains a network as a config says, or goes on where the run was stopped.", needs_config=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run. Default: runs/NAME_OF_THE_CONFIG.", flag_values=_FLAGS.values
)
_PROFILE = flags.DEFINE_integer(
    "profile", 0, "Write a profiler trace of so many steps to WORKDIR/profile.", 0, flag_values=_FLAGS.values
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, where several train together and no Slurm, Open MPI or Kubernetes tells who is who.",
    flag_values=_FLAGS.values,
)
_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many they are.", 1, flag_values=_FLAGS.values)
_PROCESS = flags.DEFINE_integer("process_id", None, "Which one this is, from 0.", 0, flag_values=_FLAGS.values)


def run(argv: Sequence[str]) -> None:
    """Parses the command line and trains."""
    _FLAGS.run(argv, _main)


def _main() -> int:
    with at_once():  # before the run itself listens, and when it is over
        from iassf_jax.runtime import set_up

        set_up(_FLAGS.values.compilation_cache)
        from iassf_jax.train.loop import train_and_evaluate
        from iassf_jax.train.processes import joined
        from iassf_jax.train.stopping import Stopped

        workdir = _WORKDIR.value or Path("runs") / _FLAGS.config_name()
        with joined(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value):
            try:
                train_and_evaluate(_FLAGS.config.value, workdir, _PROFILE.value)
            except Stopped:  # in all processes after the same step: they take leave of each other
                return 130
    return 0
