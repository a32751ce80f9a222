"""Process-wide set-up for command lines."""

import os
from pathlib import Path

import jax
from absl import logging


def set_up(cache_dir: str | None = None) -> None:
    """Prepares this process for running jitted programs; call it once, before the first of them.

    Args:
        cache_dir: folder of the persistent compilation cache. Default: `JAX_COMPILATION_CACHE_DIR`, else
            `~/.cache/iassf_jax/xla`; "off" turns it off.
    """
    logging.set_verbosity(logging.ERROR)  # Orbax and JAX's backends report their normal course
    use_compilation_cache(cache_dir)


def use_compilation_cache(cache_dir: str | None = None) -> None:
    """Keeps compiled programs on disk, unless the process has chosen a folder already; see `set_up`."""
    if cache_dir is None:
        if jax.config.jax_compilation_cache_dir not in (None, "off"):
            return
        cache_dir = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(Path.home() / ".cache" / "iassf_jax" / "xla")
    if cache_dir != "off":
        jax.config.update("jax_compilation_cache_dir", cache_dir)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
