"""What this package sets up around JAX."""

import os
import subprocess
import sys
import time
import types

import jax
import jax.numpy as jnp
import pytest

from iassf_jax import runtime


def test_memory_is_given_back_after_compiling(monkeypatch):
    trimmed, seen = [], []
    library = types.SimpleNamespace(malloc_trim=trimmed.append)
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda _: library)
    runtime.trim_after_compiling.__wrapped__()
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: seen.append(event))

    jax.jit(lambda x: x + 1)(jnp.zeros(3)).block_until_ready()
    assert runtime._COMPILED in seen  # as JAX names it today
    trimmed.clear()
    jax.monitoring.record_event_duration_secs(runtime._COMPILED, 0.01)  # nothing to give back
    jax.monitoring.record_event_duration_secs("/something/else", 5.0)
    assert not trimmed
    jax.monitoring.record_event_duration_secs(runtime._COMPILED, 5.0)
    assert trimmed == [0]


def test_a_c_library_without_trimming_is_left_alone(monkeypatch):
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda _: types.SimpleNamespace())
    runtime.trim_after_compiling.__wrapped__()


@pytest.mark.parametrize("given", [None, "0"])
def test_the_compilers_log_is_kept_from_users(given):
    """Where the machine is slow, "Very slow compile? If you want to file a bug ..." was on the terminal."""
    code = "import os, sys, iassf_jax; print(os.environ['TF_CPP_MIN_LOG_LEVEL'], 'jax' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": given} if given else {}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == f"{given or 3} False\n"


def test_compiling_is_measured():
    seconds = {}
    x = jnp.ones(7)
    compiled = jax.jit(lambda x: jnp.sin(x) @ x)
    for turn in ("first", "second"):
        start = time.perf_counter()
        with runtime.CompileClock() as clock:
            compiled(x).block_until_ready()
        seconds[turn] = clock.seconds
        assert clock.seconds <= time.perf_counter() - start
    assert seconds["first"] > 0 and seconds["second"] == 0
