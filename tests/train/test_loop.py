"""The order of things in the training loop, with a network that does nothing."""

import itertools
import signal
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

from iassf_jax.train import loop
from iassf_jax.train.loop import Pending
from iassf_jax.train.stopping import Stopped, StopRequest


class Told:
    """Stands for a RunLog and a Run: `said` and `done` list what happened."""

    def __init__(self, steps=4, sides=(8,)):
        self.said, self.done, self.rates = [], [], []
        self.config = ConfigDict(
            {"checkpoint": {"every": 2}, "eval": {"every": 2}, "train": {"log_every": 1, "batch_size": 2}}
        )
        self.num_steps, self.state, self.on_step = steps, 0, lambda: None
        sizes = itertools.cycle(sides)
        shapes = ((2, side, 12, 3) for side in sizes)
        self.iterator = ({"hazy": np.zeros(shape, np.float32), "index": np.arange(2)} for shape in shapes)

    def say(self, text):
        self.said.append(text)

    def write(self, step, values):
        self.rates.append(values["train/images_per_second"])

    def advance(self):
        self.done.append("step")

    def stems(self, batch):
        return ""

    def step_function(self, state, arrays):
        self.on_step()
        return state + 1, {"loss": 1.0, "gradient_norm": 1.0}

    def save(self, step):
        self.done.append(f"save {step}")

    def validate(self, step, log, stop):
        self.done.append(f"validate {step}")

    def is_validated(self, step):
        return f"validate {step}" in self.done


def run(told, clock=None, start=0):
    with StopRequest() as stop:
        pending = Pending(told, told, start, clock or types.SimpleNamespace(seconds=0.0))
        loop._loop(told, told, stop, pending, start, 0)
    return told


def test_a_checkpoint_is_saved_before_it_is_validated():
    done = run(Told()).done
    assert done == ["step", "step", "save 2", "validate 2", "step", "step", "save 4", "validate 4"]


def test_compiling_is_told_once_a_size():
    said = run(Told(steps=6, sides=(8, 16))).said
    assert [line.split(" (")[0] for line in said] == [
        "compiling the train step for 12 x 8 pixels",
        "compiling the train step for 12 x 16 pixels",
    ]


def test_a_signal_is_deadly_while_the_step_compiles_and_a_request_later():
    told, handlers = Told(steps=3), []
    told.on_step = lambda: handlers.append(signal.getsignal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    run(told)
    assert handlers[0] == signal.SIG_DFL and all(callable(handler) for handler in handlers[1:])
    assert signal.getsignal(signal.SIGTERM) == before


def test_who_asks_to_stop_waits_for_no_validation():
    told = Told(steps=9)
    told.on_step = lambda: signal.raise_signal(signal.SIGTERM) if told.state == 1 else None
    with pytest.raises(Stopped):
        run(told)
    assert told.done == ["step", "step", "save 2"]
    assert "saved step 2" in told.said[-1]


def test_a_validation_that_was_kept_from_is_made_up():
    told = Told(steps=4)
    for _ in range(2):
        assert run(told, start=4).done == ["validate 4"]
    assert run(Told(steps=2), start=1).done == ["step", "save 2", "validate 2"]


def test_speed_leaves_compiling_and_validation_out(monkeypatch):
    clock, now = types.SimpleNamespace(seconds=0.0), [0.0]
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    def compile_and_run():
        clock.seconds += 60.0 if not now[0] else 0.0
        now[0] += 60.5 if not now[0] else 0.5

    def validate(step, log, stop):
        clock.seconds += 20.0  # its own compiling
        now[0] += 100.0

    told = Told(steps=4)
    told.on_step, told.validate = compile_and_run, validate
    rates = run(told, clock).rates  # of the first step and the one after a validation: told when the next is done
    assert [rates[0], rates[2]] == pytest.approx([2 / 1.0, 2 / 1.0])


def test_a_second_interrupt_does_what_it_did_before():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
