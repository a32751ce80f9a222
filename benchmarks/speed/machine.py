"""What the machine is, and what it can do at most: for the roofline."""

import datetime
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp


def description(*packages: str) -> dict[str, Any]:
    """Device, cores, date, and versions of JAX, NumPy and further packages."""
    versions = {}
    for package in ("jax", "jaxlib", "numpy", *packages):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    device = jax.devices()[0]
    return {
        "device": _processor() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"


def limits() -> dict[str, float]:
    """Operations a second of a large float32 matrix product, bytes a second of reading and writing large arrays."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (side, side))
    x = jnp.zeros((2**26,) if jax.default_backend() == "cpu" else (2**30,))
    # In place: on a CPU, fresh memory is cleared by the kernel first, which takes longer than the sum.
    multiply, add = jax.jit(lambda a: a @ a), jax.jit(lambda x: x + 1, donate_argnums=0)
    return {
        "operations": 2.0 * side**3 / _seconds(lambda _: multiply(a), a),
        "bytes": 2.0 * x.nbytes / _seconds(add, x),
    }


def _seconds(function: Callable[[jax.Array], jax.Array], x: jax.Array, rounds: int = 7) -> float:
    """The fastest of some runs, each on what the last one gave: a limit, not a usual value."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        x = jax.block_until_ready(function(x))
        times.append(time.perf_counter() - start)
    return min(times[1:])
