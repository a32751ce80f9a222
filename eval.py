"""Evaluates a trained network: python eval.py --checkpoint RUN --output DIR [--config configs/msrs.py] [...].

The network is rebuilt from the run's own config. The data is the run's too, unless `--config` gives another.
"""

from absl import flags
from ml_collections import config_flags

from iassf_jax.cli.main import flags as entry
from iassf_jax.runtime import set_up

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config whose data and eval sections are used.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Folder of a training run, or weights (convert).", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for images, metrics and report.html.", required=True)
_SPLIT = flags.DEFINE_enum("split", "test", ("train", "val", "test", "all"), "Which images.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Score two-stage baselines on the same images, for the report.")
_FORESTS = flags.DEFINE_string("nrqm_model", None, "Ma et al.'s model.mat, for Q_PI (docs/metrics.md).")
_PUBLISHED = flags.DEFINE_list("published", [], "Show these tables of the paper in the report, e.g. I.")
_LIMIT = flags.DEFINE_integer("limit", 0, "Only so many images, spread evenly; 0: all.", 0)
_CACHE = flags.DEFINE_string("compilation_cache", None, "Folder of the compilation cache; 'off' for none.")


def main() -> int:
    """Makes one call."""
    set_up(_CACHE.value)
    from iassf_jax.evaluate.run import evaluate_run

    return evaluate_run(
        _CHECKPOINT.value,
        _OUTPUT.value,
        _CONFIG.value,
        _SPLIT.value,
        _LIMIT.value,
        with_baselines=_BASELINES.value,
        nrqm_model=_FORESTS.value,
        published=_PUBLISHED.value,
    )


if __name__ == "__main__":
    entry.run(main, _CONFIG)
