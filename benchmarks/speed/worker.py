"""A process that holds one contender, ready to run: python -m benchmarks.speed.worker

One JSON object a line: the case and the contender come in; `ready` goes out, and for each further line `seconds` of its
`runs`, or what a run costs at least, which takes a trace of its own. Processes of their own keep each side's memory,
threads and allocator apart.
"""

import importlib
import json
import sys
import time
from typing import Any

from benchmarks import memory
from benchmarks.speed.cases import OURS, Case


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), file=replies, flush=True)


def main() -> None:
    """Serves until the input ends."""
    job = json.loads(sys.stdin.readline())
    case, name = Case(*job["case"]), job["contender"]
    side = "jax" if name.removesuffix("_bf16") in OURS else "torch"
    contenders = importlib.import_module(f"benchmarks.speed.{side}_contenders")
    before, start = memory.peak(), time.perf_counter()
    work = contenders.Work(case, name)
    work()
    first = time.perf_counter() - start
    _say({"ready": True, "first_call_s": first, "memory_before": before})
    for line in sys.stdin:
        runs = json.loads(line).get("runs")
        if runs is None:
            _say(work.cost())
            continue
        start = time.perf_counter()
        for _ in range(runs):
            work()
        seconds = time.perf_counter() - start
        device = contenders.peak_device_memory()
        _say({"seconds": seconds, "memory": memory.peak() if device is None else device})


if __name__ == "__main__":
    # Whatever a library prints must not mix with the replies.
    replies, sys.stdout = sys.stdout, sys.stderr
    main()
