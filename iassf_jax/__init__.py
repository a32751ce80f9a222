"""Joint dehazing and fusion of visible and infrared images in one network (IASSF, arXiv 2411.12586), in JAX.

    fuser = iassf_jax.load()
    result = fuser("hazy.png", "thermal.png")  # or NumPy arrays; result.fused, result.dehazed, result.haze_density
    result.save("results")
    for frame in iassf_jax.live(0, 1): ...  # two cameras: frame.fused, frame.latency

Importing this package does not import JAX: data workers do it too. Messages of XLA's own (slow compilations, features
of the processor) stay off the terminal where JAX is imported later, unless TF_CPP_MIN_LOG_LEVEL asks for them.
"""

import importlib
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
_MODULES = {
    "Fuser": "iassf_jax.fuse.fuser",
    "Result": "iassf_jax.fuse.fuser",
    "load": "iassf_jax.fuse.fuser",
    "read_image": "iassf_jax.data.images",
}
__all__ = ["Fuser", "Result", "__version__", "live", "load", "read_image"]


def __getattr__(name: str) -> Any:
    if name == "live":
        return importlib.import_module("iassf_jax.live")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
