"""SIGTERM and Ctrl-C in training: the step is finished and saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax

from iassf_jax.train import devices


class Stopped(KeyboardInterrupt):
    """SIGTERM or Ctrl-C ended the training early; what was trained is saved."""


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a flag that the loop looks at after each step.

    A second Ctrl-C does what the first one would have done elsewhere.
    """

    def __init__(self) -> None:
        self.asked = False
        self._answer: Any = None
        self._main_thread = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "StopRequest":
        if self._main_thread:
            self._before = {n: signal.signal(n, self._ask) for n in (signal.SIGTERM, signal.SIGINT)}
        return self

    def now(self) -> bool:
        """Whether to stop; call it once after each step.

        Of several processes each can be asked, and all stop after the same step: they learn of it one step late, so
        that no device waits.
        """
        if jax.process_count() == 1:
            return self.asked
        before, self._answer = self._answer, devices.anywhere(self.asked)
        return before is not None and bool(before)

    def in_midst(self) -> bool:
        """Whether to stop in the midst of something; never of several processes, since the others would wait."""
        return self.asked and jax.process_count() == 1

    def __exit__(self, *_: object) -> None:
        if self._main_thread:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self, wanted: bool) -> Iterator[None]:
        """Within it, where it is wanted, a signal ends the process at once, also while XLA compiles.

        Not one of several processes, for which the others would wait.
        """
        caught = self._before if wanted and self._main_thread and jax.process_count() == 1 else ()
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
        try:
            if caught and self.asked:  # before it was wanted at once
                signal.raise_signal(signal.SIGTERM)
            yield
        finally:
            for number in caught:
                signal.signal(number, self._ask)

    def _ask(self, number: int, _: object) -> None:
        if self.asked and number == signal.SIGINT:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
        self.asked = True
