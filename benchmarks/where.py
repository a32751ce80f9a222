"""Where the time of a program goes on a CPU, by kind of operation: python -m benchmarks.where [--network release]

One inference and one train step under JAX's profiler, on one core, so that times add up. What a fused loop does is
read from the operation that the compiled program names it by: a product, a copy (slices, padding, other layouts), or
something else (depthwise convolutions, gates, softmax, norms, residuals).
"""

import argparse
import collections
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

KINDS = ("products", "copies", "element-wise and sums")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*? ([\w\-]+)\(")
_SOURCE = re.compile(r'op_name="[^"]*?([^/"]*)"')
_PRODUCTS = re.compile(r"dot|conv|.*->")
_COPIES = re.compile(r"copy|transpose|concatenate|pad|slice|split|dynamic_|reshape|broadcast|rev")


def kinds(program: str) -> dict[str, str]:
    """Instruction -> kind, of a compiled program's text."""
    found = {}
    for line in program.splitlines():
        if match := _INSTRUCTION.match(line):
            name, operation = match.groups()
            source = _SOURCE.search(line)
            what = source[1] if source and source[1] else operation
            found[name] = KINDS[0 if _PRODUCTS.match(what) else 1 if _COPIES.match(what) else 2]
    return found


def own_seconds(events: list[tuple[int, int, str]]) -> Iterator[tuple[str, float]]:
    """Name and seconds of each event (start, duration in ns, name) of one thread, without the events inside it."""
    stack: list[list] = []
    for start, duration, name in sorted(events, key=lambda event: (event[0], -event[1])):
        while stack and stack[-1][1] <= start:
            yield stack[-1][2], stack.pop()[3] / 1e9
        if stack:
            stack[-1][3] -= duration
        stack.append([start, start + duration, name, duration])
    while stack:
        yield stack[-1][2], stack.pop()[3] / 1e9


def profile(task: str, network: str, height: int, width: int, batch: int) -> tuple[dict[str, float], float]:
    """Seconds by kind, and of its products at a large product's speed."""
    import jax

    from benchmarks.speed import machine
    from benchmarks.speed.cases import Case
    from benchmarks.speed.jax_contenders import Work

    work, limits = Work(Case(task, height, width, batch), network), machine.limits()
    work()
    options = jax.profiler.ProfileOptions()
    options.host_tracer_level, options.python_tracer_level = 3, 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            work()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = jax.profiler.ProfileData.from_file(str(path)).planes
        kind, totals = kinds(work.program.as_text()), collections.Counter()
        for line in (line for plane in planes for line in plane.lines):
            events = [(event.start_ns, event.duration_ns, event.name) for event in line.events]
            for name, seconds in own_seconds(events):
                if name in kind:
                    totals[kind[name]] += seconds
    return totals, work.cost()["operations"] / limits["operations"]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("iassf", "release"), default="iassf")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    print("| | seconds | " + " | ".join(KINDS) + " | products at a large one's speed |")
    print("|---" * (len(KINDS) + 3) + "|")
    for task, *size in (("inference", 480, 640, 1), ("train step", 128, 128, 2)):
        totals, least = profile(task, args.network, *size)
        whole = sum(totals.values())
        shares = " | ".join(f"{totals[kind] / whole:.0%}" for kind in KINDS)
        title = f"{task} {size[1]}x{size[0]}, batch {size[2]}"
        print(f"| {title} | {whole:.2f} | {shares} | {least / whole:.0%} |", flush=True)


if __name__ == "__main__":
    main()
