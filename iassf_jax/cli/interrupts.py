"""Ctrl-C at any moment: quiet, and never lost."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

_AGAIN_SECONDS = 0.05


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """For all that a process does: a Ctrl-C that arrives where Python drops errors comes again a moment later.

    In callbacks of the garbage collector, of which JAX has one, and in destructors, Python would print a traceback and
    go on as if nothing had been asked. Afterwards, while the process ends, Ctrl-C kills it without a word.
    """
    before = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
            return
        again = (threading.main_thread().ident, signal.SIGINT)
        timer = threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, again)  # from here it would be dropped once more
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    except KeyboardInterrupt:  # before the command could see to it
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Within it Ctrl-C kills the process without a word, unless somebody else sees to it."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
