"""Contenders in turns, each in a process of its own."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.speed.cases import OURS, Case

# Threads that spin while they wait would take the cores from whoever's turn it is.
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
# Not with JAX's usual reservation of three quarters of a GPU: both sides live on it at once.
_SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
_ROOT = Path(__file__).parents[2]


class Contender:
    """A worker process."""

    def __init__(self, case: Case, name: str, cache: str) -> None:
        """Starts it and waits for its first run; `failure` says in a line why there is none.

        `cache` is the folder of JAX's compilation cache.
        """
        self.name, self.times, self.memory = name, [], 0
        environment = os.environ | _PASSIVE | _SHARED_GPU | _CACHE | {"JAX_COMPILATION_CACHE_DIR": cache}
        self.errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would fill up
        command = [sys.executable, "-m", "benchmarks.speed.worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        self.process = subprocess.Popen(command, cwd=_ROOT, env=environment, **pipes)
        self.start = self._ask({"case": list(case), "contender": name})
        self.failure = self.start.get("failure")

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            if reply := self.process.stdout.readline():
                return json.loads(reply)
        except BrokenPipeError:
            pass
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return {"failure": lines[-1][:200] if lines else f"exit status {self.process.returncode}"}

    def turn(self, runs: int) -> None:
        """A few runs; their mean joins the times."""
        reply = self._ask({"runs": runs})
        if failure := reply.get("failure"):
            self.failure = failure
        else:
            self.times.append(reply["seconds"] / runs)
            self.memory = reply["memory"]

    def count(self) -> None:
        """What a run costs at least."""
        self.start |= self._ask({"cost": True})

    def result(self) -> dict[str, Any]:
        """What was measured."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        if self.failure:
            return {"failure": self.failure}
        kept = {k: v for k, v in self.start.items() if k != "ready"}
        return {**kept, "seconds": statistics.median(self.times), "times": self.times, "memory": self.memory}


def duel(case: Case, names: list[str], rounds: int, least: float) -> dict[str, dict[str, Any]]:
    """Runs a case with all contenders by turns.

    Ours compile in one process, and run in another that finds the programs in the compilation cache, as every run of a
    user but the first does.

    Args:
        case: the workload.
        names: contenders.
        rounds: turns of each; the median counts.
        least: a turn lasts at least about so many seconds, of several runs where one is shorter.

    Returns:
        By contender: `seconds` a run, all `times`, `first_call_s`, `memory` at its peak in bytes (of the process, or
        on the GPU) and `memory_before`; `operations` and `bytes` of a program where known; `compiling` with
        `first_call_s` and `memory` of the process that compiled; or `failure`.
    """
    with tempfile.TemporaryDirectory() as cache:
        compiling = {name: _compile(case, name, cache) for name in names if name.removesuffix("_bf16") in OURS}
        contenders = [Contender(case, name, cache) for name in names]
        _take_turns(contenders, rounds, least)
        results = {contender.name: contender.result() for contender in contenders}
    for name, first in compiling.items():
        results[name]["compiling"] = first
    return results


def duels_at_once(
    jobs: Mapping[Case, list[str]], rounds: int, least: float
) -> Iterator[tuple[Case, dict[str, dict[str, Any]]]]:
    """`duel` of several cases whose contenders all start, and compile, at the same time; turns are as there.

    For a machine with many cores that is at hand for minutes. `first_call_s` is that of a busy machine, and `compiling`
    is missing.
    """
    pairs = [(case, name) for case, names in jobs.items() for name in names]
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(len(pairs)) as pool:
        started = dict(zip(pairs, pool.map(lambda pair: Contender(*pair, cache), pairs), strict=True))
        print("all contenders are ready", flush=True)
        for case, names in jobs.items():
            contenders = [started[case, name] for name in names]
            _take_turns(contenders, rounds, least)
            yield case, {contender.name: contender.result() for contender in contenders}


def _compile(case: Case, name: str, cache: str) -> dict[str, Any]:
    contender = Contender(case, name, cache)
    if not contender.failure:
        contender.turn(1)
    result = contender.result()
    return {key: value for key, value in result.items() if key in ("first_call_s", "memory", "failure")}


def _take_turns(contenders: list[Contender], rounds: int, least: float) -> None:
    runs = {}
    for contender in contenders:
        if not contender.failure:
            contender.turn(1)  # warm
            runs[contender.name] = max(1, round(least / max(contender.times[-1], 1e-4))) if contender.times else 1
            contender.times.clear()
    for _ in range(rounds):
        for contender in contenders:
            if not contender.failure:
                contender.turn(runs[contender.name])
    for contender in contenders:
        if not contender.failure:
            contender.count()
