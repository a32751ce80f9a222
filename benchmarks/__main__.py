"""Speed and memory beside PyTorch, in one run: python -m benchmarks [--only inference] [--output FOLDER]

Contenders take turns, each in a process of its own with the same cores; a turn is one run or as many as take a second,
and the median of the turns counts. Writes NAME.json and NAME.md. Needs PyTorch and OpenCV on PyTorch's side (extra
"parity"); where PyTorch is absent its rows say so.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the contenders share the GPU with this process

from benchmarks.speed import host, machine, tables
from benchmarks.speed.cases import CONTENDERS, Case, cases, contenders
from benchmarks.speed.duel import duel, duels_at_once

SECTIONS = (*CONTENDERS, "start-up", "data")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=SECTIONS, help="sections to run")
    parser.add_argument("--without", nargs="+", default=(), metavar="CONTENDER", help="e.g. torch_compiled")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="cases of this size only")
    parser.add_argument("--cases", nargs="+", metavar="TITLE", help='e.g. "inference 640x480, batch 8"')
    parser.add_argument("--at-once", action="store_true", help="start all contenders at once; see speed/duel.py")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: 5)")
    parser.add_argument("--cpus", type=int, help="use so many of the cores")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder")
    parser.add_argument("--name", help="of the files (default: device and date)")
    return parser.parse_args()


def _cases(args: argparse.Namespace, on_gpu: bool) -> Iterator[Case]:
    if unknown := set(args.cases or ()) - {str(case) for case in cases(on_gpu)}:
        sys.exit(f"error: --cases {', '.join(sorted(unknown))}: use some of {'; '.join(map(str, cases(on_gpu)))}")
    for case in cases(on_gpu):
        size_fits = not args.size or [case.height, case.width] == args.size
        if case.task in args.only and size_fits and (not args.cases or str(case) in args.cases):
            yield case


def main() -> None:
    """Measures, prints and writes after every case, so that a run that is cut off is not lost."""
    args = _arguments()
    if args.cpus:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cpus])
    results: dict[str, Any] = {"machine": machine.description("flax", "torch"), "limits": machine.limits(), "cases": {}}
    on_gpu = results["machine"]["platform"] != "cpu"
    name = args.name or "-".join((results["machine"]["device"].replace(" ", "_"), results["machine"]["date"]))
    args.output.mkdir(parents=True, exist_ok=True)

    def keep() -> None:
        (args.output / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
        (args.output / f"{name}.md").write_text(tables.as_markdown(results))

    jobs = {case: [n for n in contenders(case, on_gpu) if n not in args.without] for case in _cases(args, on_gpu)}
    one_by_one = ((case, duel(case, names, args.rounds, least=0.5)) for case, names in jobs.items())
    for case, found in duels_at_once(jobs, args.rounds, least=0.5) if args.at_once and jobs else one_by_one:
        results["cases"][str(case)] = found
        for contender, result in found.items():
            print(f"{case}: {contender:16} {result.get('failure') or result['seconds']}", flush=True)
        keep()
    if "start-up" in args.only:
        results["start_up"] = host.start_up()
    if "data" in args.only:
        results["data"] = host.data_rates()
    keep()
    print((args.output / f"{name}.md").read_text())


if __name__ == "__main__":
    main()
