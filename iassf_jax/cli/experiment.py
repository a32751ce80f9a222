"""iassf-jax experiment: trains and compares the variants of an experiment.

The same command goes on where it was stopped. `experiments/ablations:haze` takes another base config.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from iassf_jax.cli.flags import Flags

_FLAGS = Flags("Trains and compares the variants of an experiment, e.g. experiments/ablations.", needs_config=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/experiments", "Folder of the runs; experiments share equal ones.", flag_values=_FLAGS.values
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder of the report. Default: results/NAME_OF_THE_CONFIG, with its argument.",
    flag_values=_FLAGS.values,
)
_SPLIT = flags.DEFINE_enum(
    "split", "val", ("train", "val", "test", "all"), "Images to score.", flag_values=_FLAGS.values
)
_LIMIT = flags.DEFINE_integer("limit", 0, "Only so many images, spread evenly; 0: all.", 0, flag_values=_FLAGS.values)


def run(argv: Sequence[str]) -> None:
    """Parses the command line and runs the experiment."""
    _FLAGS.run(argv, _main)


def _main() -> int:
    from iassf_jax.runtime import set_up

    set_up(_FLAGS.values.compilation_cache)
    from iassf_jax.evaluate.experiments import run_experiment

    output = _OUTPUT.value or Path("results") / _FLAGS.config_name()
    return run_experiment(_FLAGS.config.value, _WORKDIR.value, output, _SPLIT.value, _LIMIT.value)
