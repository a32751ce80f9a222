"""Trains and compares the variants of an experiment: python experiment.py --config configs/experiments/ablations.py.

The same command goes on where it was stopped. `configs/experiments/ablations.py:haze_small` takes another base config.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from iassf_jax.cli.main import flags as entry
from iassf_jax.runtime import set_up

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, e.g. configs/experiments/ablations.py.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/experiments", "Folder of the runs; experiments share equal ones.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the report. Default: results/NAME_OF_THE_CONFIG.")
_SPLIT = flags.DEFINE_enum("split", "val", ("train", "val", "test", "all"), "Images to score.")
_LIMIT = flags.DEFINE_integer("limit", 0, "Only so many images, spread evenly; 0: all.", 0)
_CACHE = flags.DEFINE_string("compilation_cache", None, "Folder of the compilation cache; 'off' for none.")


def main() -> int:
    """Makes one call."""
    set_up(_CACHE.value)
    from iassf_jax.evaluate.experiments import run_experiment

    name = Path(config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[0]).stem
    output = _OUTPUT.value or Path("results") / name
    return run_experiment(_CONFIG.value, _WORKDIR.value, output, _SPLIT.value, _LIMIT.value)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    entry.run(main, _CONFIG)
