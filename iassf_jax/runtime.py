"""Process-wide set-up for command lines, and how programs are compiled for the device at hand."""

import ctypes
import functools
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@functools.cache
def compiler_options() -> dict[str, Any]:
    """What `jax.jit` should be told for the device at hand.

    On a CPU: to order operations for memory, which is also the faster order (docs/performance.md).
    """
    if jax.default_backend() != "cpu":
        return {}
    return _known({"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"})


_COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's event, also of a program from the compilation cache


@functools.cache
def trim_after_compiling() -> None:
    """Has the C library give back what compiling leaves free, before the program makes its temporaries beside it.

    A tenth of the peak of a process that runs one image. Where the C library is not glibc, nothing happens.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return

    def on_event(event: str, seconds: float, **_: Any) -> None:
        if event == _COMPILED and seconds > 0.1:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(on_event)


class CompileClock:
    """Measures how long JAX traces and compiles inside a `with` block; `seconds` says it afterwards."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def __enter__(self) -> "CompileClock":
        jax.monitoring.register_event_duration_secs_listener(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._note)

    def _note(self, event: str, seconds: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            now = time.perf_counter()
            self._spans.append((now - seconds, now))

    @property
    def seconds(self) -> float:
        """Wall-clock seconds; functions traced inside others count once."""
        total, end = 0.0, -math.inf
        for start, stop in sorted(self._spans):
            total += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return float(total)


def run_once(function: Callable[..., Any], *args: Any) -> Any:
    """Runs a program that is needed once where that takes least to compile: on the CPU, if JAX has it, and quickly.

    Initialising the network took LLVM three times as long with its expensive passes, for a run of a tenth of a second,
    and on a GPU there is a kernel to compile for each of 148 random draws. So a seed's weights are the same everywhere.
    """
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return jax.jit(function)(*args)
    with jax.default_device(device):
        return jax.jit(function, compiler_options=_options_for_one_run())(*args)


@functools.cache
def _options_for_one_run() -> dict[str, Any]:
    return _known({"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})


def _known(options: dict[str, Any]) -> dict[str, Any]:
    """The options, or none where XLA does not know them."""
    try:
        jax.jit(lambda x: x, compiler_options=options)(0)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def jit_for_device(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
    """`jax.jit` with `compiler_options()`; the device is asked for at the first call, not when a module is imported.

    The jitted function itself is what the result's `jitted()` gives. With options alone it is a decorator.
    """
    if function is None:
        return functools.partial(jit_for_device, **options)

    @functools.cache
    def jitted() -> Callable[..., Any]:
        trim_after_compiling()
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return jitted()(*args, **kwargs)

    call.jitted = jitted
    return call
