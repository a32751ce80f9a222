"""Fusing two cameras as their frames come: `for frame in iassf_jax.live(0, 1): ...`."""

import sys
import types
from typing import Any

__all__ = ["Live", "LiveFrame"]


class _Callable(types.ModuleType):
    """This package, which can be called: it makes a `Live`."""

    def __call__(self, visible: str | int, infrared: str | int, **options: Any) -> "Live":  # noqa: F821
        """See `Live`."""
        from iassf_jax.live.loop import Live

        return Live(visible, infrared, **options)

    def __getattr__(self, name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from iassf_jax.live import loop

        return getattr(loop, name)


sys.modules[__name__].__class__ = _Callable
