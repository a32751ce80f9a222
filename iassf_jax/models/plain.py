"""A plain form of the networks, for converters to other formats: the same network, of operations that they know."""

import contextlib
import contextvars
from collections.abc import Iterator

_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)
_portable: contextvars.ContextVar[bool] = contextvars.ContextVar("portable", default=False)


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """While a network is traced, it does without what only JAX has or only XLA does well.

    That is: choices by device, bits of floats taken as integers, 1x1 convolutions written as matrix products, and long
    sums in one go (other run times add in order, and lose digits over a whole image). Trace anew inside: `jax.jit`
    does not know of this, and gives back what it traced outside.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether the network that is traced shall be plain."""
    return _plain.get()


@contextlib.contextmanager
def portable_operations() -> Iterator[None]:
    """While a network is traced, it does without kernels that run on one kind of device only. Trace anew inside."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def is_portable() -> bool:
    """Whether the network that is traced shall do without kernels of one kind of device; plain ones always do."""
    return _portable.get() or is_plain()
