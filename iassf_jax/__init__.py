"""Joint dehazing and fusion of visible and infrared images in one network (IASSF, arXiv 2411.12586), in JAX.

    fuser = iassf_jax.load()
    result = fuser(visible, infrared)  # NumPy in, NumPy out: result.fused, result.dehazed, result.haze_density
    for frame in iassf_jax.live(0, 1): ...  # two cameras: frame.fused, frame.latency

Importing this package does not import JAX: data workers do it too.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
_OF_FUSER = ("Fuser", "Result", "load")
__all__ = ["Fuser", "Result", "__version__", "live", "load"]


def __getattr__(name: str) -> Any:
    if name == "live":
        return importlib.import_module("iassf_jax.live")
    if name not in _OF_FUSER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from iassf_jax.fuse import fuser

    return getattr(fuser, name)
