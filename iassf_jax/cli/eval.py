"""iassf-jax eval, and eval.py."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from iassf_jax.cli.flags import Flags
from iassf_jax.errors import UserError

_FLAGS = Flags("Evaluates a trained network: images, metrics.csv, metrics.json and report.html.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Folder of a training run, a file of weights, or shipped ones.", flag_values=_FLAGS.values
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for all results. Default: results/NAME_OF_THE_CHECKPOINT.", flag_values=_FLAGS.values
)
_SPLIT = flags.DEFINE_enum("split", "test", ("train", "val", "test", "all"), "Which images.", flag_values=_FLAGS.values)
_BASELINES = flags.DEFINE_bool(
    "baselines", False, "Score two-stage baselines on the same images, for the report.", flag_values=_FLAGS.values
)
_FORESTS = flags.DEFINE_string(
    "nrqm_model", None, "Ma et al.'s model.mat, for Q_PI (docs/evaluate.md).", flag_values=_FLAGS.values
)
_PUBLISHED = flags.DEFINE_list(
    "published", [], "Show these tables of the paper in the report, e.g. I.", flag_values=_FLAGS.values
)
_LIMIT = flags.DEFINE_integer("limit", 0, "Only so many images, spread evenly; 0: all.", 0, flag_values=_FLAGS.values)


def run(argv: Sequence[str]) -> None:
    """Parses the command line and evaluates."""
    _FLAGS.run(argv, _main)


def _name(checkpoint: Path) -> str:
    """Of a folder, whatever dots it has, or of a file without its suffix."""
    return checkpoint.name if checkpoint.is_dir() else checkpoint.stem


def _main() -> int:
    from iassf_jax.runtime import set_up

    if not _CHECKPOINT.value:
        raise UserError("which network? Give --checkpoint: a run's folder, a file of weights, or shipped ones")
    set_up(_FLAGS.values.compilation_cache)
    from iassf_jax.evaluate.run import evaluate_run

    return evaluate_run(
        _CHECKPOINT.value,
        _OUTPUT.value or Path("results") / _name(Path(_CHECKPOINT.value)),
        _FLAGS.config.value,
        _SPLIT.value,
        _LIMIT.value,
        with_baselines=_BASELINES.value,
        nrqm_model=_FORESTS.value,
        published=_PUBLISHED.value,
    )
