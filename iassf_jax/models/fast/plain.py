"""A plain form of the networks, for converters to other formats: the same network, of operations that they know."""

import contextlib
import contextvars
from collections.abc import Iterator

_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)
_portable: contextvars.ContextVar[bool] = contextvars.ContextVar("portable", default=False)


@contextlib.contextmanager
def _switched_on(switch: contextvars.ContextVar[bool]) -> Iterator[None]:
    token = switch.set(True)
    try:
        yield
    finally:
        switch.reset(token)


def plain_operations() -> contextlib.AbstractContextManager[None]:
    """While a network is traced, it does without what only JAX has or only XLA does well.

    That is: choices by device, bits of floats taken as integers, 1x1 convolutions written as matrix products, and long
    sums in one go (other run times add in order, and lose digits over a whole image). Trace anew inside: `jax.jit`
    does not know of this, and gives back what it traced outside.
    """
    return _switched_on(_plain)


def is_plain() -> bool:
    """Whether the network that is traced shall be plain."""
    return _plain.get()


def portable_operations() -> contextlib.AbstractContextManager[None]:
    """While a network is traced, it does without kernels that run on one kind of device only. Trace anew inside."""
    return _switched_on(_portable)


def is_portable() -> bool:
    """Whether the network that is traced shall do without kernels of one kind of device; plain ones always do."""
    return _portable.get() or is_plain()
