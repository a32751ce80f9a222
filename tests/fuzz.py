"""python -m tests.fuzz --minutes N --seed S: random arrays, image files, settings and weights, to find what breaks.

Whatever comes in, the answer is a result or one `UserError` of one line; never another exception, a crash, a hang, or
a gigabyte. Cases follow from the seed: `--replay KIND:SEED:NUMBER` runs one again. A failing file is made smaller and
kept.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from iassf_jax.errors import UserError

KINDS = ("files", "arrays", "settings", "torch", "weights")
LONGEST, LARGEST = 30, 2**30  # seconds and bytes of one case
_ADDRESSES = 12 * 2**30  # JAX and OpenCV reserve gigabytes that they never touch
_NUMBERS = (0, 1, 2, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1, 2**63 - 1, 2**64 - 1)
Case = tuple[Callable[[Any], None], Any]
"""What is run, and with what: bytes, which can be made smaller, or anything else."""


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """Bytes with one to six changes: numbers that mean much, flips, cuts, copies of a part elsewhere."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 7))):
        at = int(rng.integers(max(1, min(len(out), 200 if rng.random() < 0.7 else len(out)))))
        change = rng.integers(5)
        if change == 0:
            out[at : at + 1] = bytes([int(rng.integers(256))])
        elif change == 1:
            size = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice(len(_NUMBERS)))
            order = "little" if rng.random() < 0.5 else "big"
            out[at : at + size] = (_NUMBERS[number] % 256**size).to_bytes(size, order)
        elif change == 2:
            del out[at : at + int(rng.integers(1, 64))]
        elif change == 3:
            start = int(rng.integers(max(1, len(out))))
            out[at:at] = out[start : start + int(rng.integers(1, 64))]
        elif rng.random() < 0.3:
            del out[int(rng.integers(len(out) + 1)) :]
    return bytes(out)


def _image_files() -> list[bytes]:
    import cv2

    rng, files = np.random.default_rng(0), []
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".tif"):
        for shape in ((13, 17), (13, 17, 3), (13, 17, 4)):
            if (suffix, len(shape), shape[-1]) != (".jpg", 3, 4):
                files.append(bytes(cv2.imencode(suffix, rng.integers(0, 256, shape, np.uint8))[1]))
            if suffix in (".png", ".tif") and shape[-1] != 4:
                files.append(bytes(cv2.imencode(suffix, rng.integers(0, 65536, shape, np.uint16))[1]))
    big = b"II+\0" + (8).to_bytes(4, "little") + (16).to_bytes(8, "little")
    return [
        *files,
        big + files[-1][8:],
        bytes(cv2.imencode(".jpg", files_of(rng), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]),
    ]


def files_of(rng: np.random.Generator) -> np.ndarray:
    """uint8[24, 24, 3]."""
    return rng.integers(0, 256, (24, 24, 3), np.uint8)


def _read_image(data: bytes) -> None:
    from iassf_jax.data import images

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(data)
        size = images.image_size(path)
        image = images.read_image(path)
        assert image.shape[:2] == size and image.dtype in (np.uint8, np.uint16) and image.shape[2:] in ((), (3,))


def _array(rng: np.random.Generator) -> Any:
    shapes = ((4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4), (0, 5), (5,), (), (2, 4, 5, 3), (1, 1), (4, 5, 3, 1), (9, 7))
    shape = shapes[int(rng.integers(len(shapes)))]
    kinds = "u1 u2 u4 u8 i1 i8 f2 f4 f8 g ? c8 S3 U3 M8[D] m8[s] O i4,f4".split()
    kind = kinds[int(rng.integers(len(kinds)))]
    values = rng.choice([0.0, 0.5, 1.0, 255.0, -1.0, 1e30, 1e300, np.nan, np.inf], shape or None)
    with np.errstate(all="ignore"):
        x = (
            np.zeros(shape, kind)
            if kind[0] in "SUMmOi" and kind != "i8" and kind != "i1"
            else np.asarray(values).astype(kind)
        )
    wraps = (
        lambda x: x,
        lambda x: x,
        np.ma.masked_array,
        lambda x: x.tolist(),
        lambda x: x[::-1] if x.ndim else x,
        lambda x: [x, 3],
        str,
    )
    return wraps[int(rng.integers(len(wraps)))](x)


def _prepare(given: tuple[Any, Any, dict[str, Any]]) -> None:
    from iassf_jax.fuse.prepare import Preparation, prepare_pair

    visible, infrared, _ = prepare_pair(*given[:2], Preparation(**given[2]), [])
    assert visible.ndim == 3 and visible.shape[2] == 3 and infrared.shape == visible.shape[:2]
    assert np.isfinite(visible).all() and np.isfinite(infrared).all()


def _arrays(rng: np.random.Generator) -> Case:
    percentiles = (None, "auto", (1, 99), (0, 100), (99, 1), (1,), 5, "ab", (None, 3), (np.nan, 2), [1, 2], ("1", "2"))
    sides = ("infrared_percentiles", "visible_percentiles")
    options = {side: percentiles[int(rng.integers(len(percentiles)))] for side in sides}
    visible = np.zeros((4, 5, 3), np.uint8) if rng.random() < 0.3 else _array(rng)
    return _prepare, (visible, _array(rng), options | {"resize_infrared": bool(rng.integers(2))})


def _check(config: Any) -> None:
    from iassf_jax.models import build_model
    from iassf_jax.train.config_checks import check_config, check_workers

    check_config(config)
    check_workers(config.data)
    build_model(config.model)


def _settings(rng: np.random.Generator) -> Case:
    from configs import msrs

    config = msrs.get_config()
    values = (
        0,
        -1,
        1,
        3,
        2**31,
        10**30,
        0.5,
        float("nan"),
        float("inf"),
        -1e30,
        "",
        "x",
        True,
        (),
        (1,),
        (0, 0),
        ("a",),
    )
    for _ in range(int(rng.integers(1, 4))):
        section = config
        while True:
            name = sorted(section)[int(rng.integers(len(section)))]
            if not hasattr(section[name], "keys") or not len(section[name]):
                break
            section = section[name]
        try:
            section[name] = values[int(rng.integers(len(values)))]
        except (TypeError, ValueError):  # ConfigDict's own check of types
            continue
    return _check, config


def _torch_file(data: bytes) -> None:
    from iassf_jax.weights.torch_file import read_torch

    read_torch(data, "file")


def _weights_file(data: bytes) -> None:
    from iassf_jax.weights.formats import read_weights

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(data)
        read_weights([path])


def _base(kind: str) -> list[bytes]:
    """The good files that a kind's cases are made from."""
    if kind == "files":
        return _image_files()
    if kind == "torch":
        from iassf_jax.weights.torch_file import write_torch

        x = np.arange(24, dtype=np.float32)
        return [write_torch({"a": {"w": x.reshape(2, 3, 4)}, "b": {"v": x[:5]}}), write_torch({"a": {"w": x[:1]}})]
    if kind == "weights":
        from iassf_jax.weights import shipped

        return [Path(shipped.weights_file(shipped.DEFAULT)).read_bytes()]
    return []


RUNS = {"files": _read_image, "torch": _torch_file, "weights": _weights_file}


def make_case(kind: str, seed: int, number: int, base: list[bytes]) -> Case:
    """The case of a number, always the same."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), number])
    if kind == "arrays":
        return _arrays(rng)
    if kind == "settings":
        return _settings(rng)
    return RUNS[kind], mutated(rng, base[int(rng.integers(len(base)))])


def problem_of(case: Case) -> str | None:
    """What is wrong with what a case does; None for a result or a UserError of one line."""
    run, given = case
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        run(given)
    except UserError as error:
        if "\n" in str(error) or not str(error):
            return f"a message that is not one line: {str(error)!r}"
    except Exception as error:
        return f"{type(error).__name__} at {traceback.extract_tb(error.__traceback__)[-1].name}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return f"{grown >> 20} MiB" if grown > LARGEST else None


def smaller(case: Case, problem: str) -> bytes:
    """As little of a failing file as still fails in the same way."""
    run, data = case
    step = max(1, len(data) // 2)
    until = time.monotonic() + 10
    while step and time.monotonic() < until:
        for start in range(len(data) - step, -1, -step):
            shorter = data[:start] + data[start + step :]
            if problem_of((run, shorter)) == problem:
                data = shorter
        step //= 2
    return data


def worker(kind: str, seed: int, number: int, until: float) -> None:
    """Runs cases from `number` on, a line of JSON for the number of each before it and for each failure."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    base = _base(kind)
    for i in range(3):  # what a first use costs is no case's
        problem_of((RUNS[kind], base[i % len(base)]) if base else make_case(kind, 0, i, base))
    while time.monotonic() < until:
        print(json.dumps({"at": number}), flush=True)
        case = make_case(kind, seed, number, base)
        if problem := problem_of(case):
            data = smaller(case, problem) if isinstance(case[1], bytes) else repr(case[1]).encode()
            print(json.dumps({"failed": number, "problem": problem, "data": data.hex()}), flush=True)
        number += 1


def watched(kind: str, seed: int, number: int, until: float) -> tuple[int, list[dict[str, Any]]]:
    """Runs one worker process to its end; the number of the next case, and the failures, also one that ended it."""
    command = [sys.executable, "-m", "tests.fuzz", "--worker", f"{kind}:{seed}:{number}", str(until)]
    failures, problem = [], None
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        lines: list[bytes] = []
        reader = _Lines(process.stdout, lines)
        while process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - reader.last > LONGEST * (1 if lines else 10):  # the first waits for JAX to load
                problem = f"more than {LONGEST} s"
                process.kill()
        reader.join()
        errors.seek(0)
        if problem is None and process.returncode:
            last = errors.read().strip().splitlines()[-1:]
            problem = f"the process ended with {process.returncode}: {' '.join(last)[:200]}"
    for line in map(json.loads, lines):
        number = line.get("at", number)
        if "failed" in line:
            failures.append(line)
    if problem:
        failures.append({"failed": number, "problem": problem, "data": ""})
    return number + 1, failures


class _Lines:
    """Collects a pipe's lines in a thread, and when the last one came."""

    def __init__(self, pipe: io.BufferedReader, lines: list[bytes]) -> None:
        import threading

        self.last = time.monotonic()
        self._thread = threading.Thread(target=self._collect, args=(pipe, lines), daemon=True)
        self._thread.start()

    def _collect(self, pipe: io.BufferedReader, lines: list[bytes]) -> None:
        for line in pipe:
            self.last = time.monotonic()
            lines.append(line)

    def join(self) -> None:
        """Waits for the pipe's end."""
        self._thread.join()


def fuzz(minutes: float, seed: int, kinds: tuple[str, ...], folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Runs each kind for its share of the time; the number of cases, and the failures, which are kept in `folder`."""
    cases, found = 0, []
    for kind in kinds:
        number, until = 0, time.monotonic() + 60 * minutes / len(kinds)
        seen = set()
        while time.monotonic() < until:
            number, failures = watched(kind, seed, number, until)
            for failure in failures:
                if failure["problem"] in seen:
                    continue
                seen.add(failure["problem"])
                found.append({"kind": kind, **failure})
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{kind}-{seed}-{failure['failed']}").write_bytes(bytes.fromhex(failure["data"]))
                print(f"{kind}:{seed}:{failure['failed']}: {failure['problem']}", flush=True)
        print(f"{kind}: {number} cases, {len(seen)} different failures", flush=True)
        cases += number
    return cases, found


def main() -> int:
    """The command; 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of %(default)s")
    parser.add_argument("--output", type=Path, default=Path("fuzz"), help="folder for failing cases")
    parser.add_argument("--replay", metavar="KIND:SEED:NUMBER", help="run one case, with its traceback")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker or args.replay:
        kind, seed, number = (args.replay or args.worker[0]).split(":")
        if args.worker:
            worker(kind, int(seed), int(number), float(args.worker[1]))
        else:
            run, given = make_case(kind, int(seed), int(number), _base(kind))
            run(given)
        return 0
    cases, found = fuzz(args.minutes, args.seed, tuple(args.kinds.split(",")), args.output)
    print(f"{cases} cases, {len(found)} different failures" + (f", kept in {args.output}" if found else ""))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
