"""Fits the global modulation of weights: python fit_modulation.py --config configs/msrs_modulation.py ...

The same command takes up the measurements of one that was stopped. The result is weights.safetensors in the workdir.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from iassf_jax.cli.main import flags as entry
from iassf_jax.runtime import set_up

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config, e.g. configs/msrs_modulation.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. Default: runs/NAME_OF_THE_CONFIG.")
_CACHE = flags.DEFINE_string("compilation_cache", None, "Folder of the compilation cache; 'off' for none.")


def main() -> None:
    """Makes one call."""
    set_up(_CACHE.value)
    from iassf_jax.modulation_fit import fit_modulation

    name = Path(config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[0]).stem
    print(fit_modulation(_CONFIG.value, _WORKDIR.value or Path("runs") / name).summary())


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    entry.run(main, _CONFIG)
