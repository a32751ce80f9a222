"""Trains a network: python train.py --config configs/msrs.py [--workdir RUN] [--config.FIELD=VALUE ...]."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from iassf_jax.cli.main import flags as entry
from iassf_jax.runtime import set_up

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/msrs.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. Default: runs/NAME_OF_THE_CONFIG.")
_PROFILE = flags.DEFINE_integer("profile", 0, "Write a profiler trace of so many steps to WORKDIR/profile.", 0)
_CACHE = flags.DEFINE_string("compilation_cache", None, "Folder of the compilation cache; 'off' for none.")


def main() -> None:
    """Makes one call."""
    set_up(_CACHE.value)
    from iassf_jax.train.loop import train_and_evaluate

    workdir = _WORKDIR.value or Path("runs") / Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    train_and_evaluate(_CONFIG.value, workdir, _PROFILE.value)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    entry.run(main, _CONFIG)
