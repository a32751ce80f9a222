"""What a training run tells: metrics as JSON lines and TensorBoard, a progress bar or plain lines, pictures."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tqdm import tqdm

from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes


class _Board:
    """TensorBoard's events, written without a thread: a full disk is told by the call that meets it."""

    def __init__(self, folder: Path, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"))
        self.add(0, file_version="brain.Event:2")
        # What an earlier file tells of this step and later ones is hidden.
        self.add(first_step, session_log=SessionLog(status=SessionLog.START))
        self.flush()

    def add(self, step: int, **content: Any) -> None:
        """Writes one event."""
        self._writer.write(Event(wall_time=time.time(), step=step, **content).SerializeToString())

    def flush(self) -> None:
        """Brings what was added to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


class RunLog:
    """Writes `metrics.jsonl`, TensorBoard events and `samples/*.png` into the run's folder, and progress to stderr."""

    def __init__(self, workdir: Path, start_step: int, num_steps: int) -> None:
        self.workdir = workdir
        try:
            self._drop_lines_after(start_step)
            self._file = (workdir / "metrics.jsonl").open("a", buffering=1)
            self._board = _Board(workdir / "tensorboard", start_step + 1)
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be written ({error.strerror}): move it away") from None
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=num_steps, initial=start_step, unit="step", dynamic_ncols=True) if terminal else None
        self._num_steps = num_steps

    def _drop_lines_after(self, step: int) -> None:
        """A run that was killed may have logged steps that are now done again."""
        path = self.workdir / "metrics.jsonl"
        if path.exists():
            lines = path.read_text(errors="replace").splitlines(keepends=True)
            write_bytes(path, "".join(line for line in lines if _step(line) <= step).encode())

    def is_validated(self, step: int) -> bool:
        """Whether the numbers tell of a validation after this step."""
        return any(line["step"] == step and "val/psnr" in line for line in read_numbers(self.workdir))

    def advance(self) -> None:
        """One step is done."""
        if self._bar is not None:
            self._bar.update()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs numbers of one step, under names such as `train/loss`."""
        line = {"step": step, "time": round(time.time(), 3), **{name: float(x) for name, x in values.items()}}
        with self._disk_errors_told():
            self._file.write(json.dumps(line) + "\n")
            for name, value in values.items():
                self._board.add(step, summary=summary.scalar(name, float(value)))
            self._board.flush()
        text = "  ".join(f"{name.split('/')[-1]} {float(value):.4g}" for name, value in values.items())
        if self._bar is not None and "train/loss" in values:
            self._bar.set_postfix_str(f"loss {float(values['train/loss']):.4f}")
        else:
            self.say(f"step {step}/{self._num_steps}  {text}")

    def bar(self, pairs: Iterable[Any], total: int, what: str) -> Iterable[Any]:
        """`pairs` as they come, with a bar of their own on a terminal, else after a line."""
        if self._bar is None:
            self.say(f"{what} {total} pairs ...")
            return pairs
        return tqdm(pairs, total=total, desc=what, unit="pair", leave=False, dynamic_ncols=True)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Saves uint8[H, W, 3] as a PNG and for TensorBoard."""
        images.write_image(self.workdir / "samples" / f"{name}_{step:07d}.png", image)
        with self._disk_errors_told():
            self._board.add(step, summary=summary.image(name, image, dataformats="HWC"))
            self._board.flush()

    @contextlib.contextmanager
    def _disk_errors_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            words = f"cannot be written ({error.strerror}): free space there and start again"
            raise UserError(f"{self.workdir}: {words}") from None

    def say(self, text: str) -> None:
        """Prints a line without breaking the progress bar."""
        with contextlib.suppress(OSError):  # a reader that has left must not end the training
            if self._bar is not None:
                self._bar.write(text, file=sys.stderr)
            else:
                print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        for file in (self._file, self._board):
            with contextlib.suppress(OSError):  # told when it was written
                file.close()


class NoLog(RunLog):
    """Of the processes that leave telling to the first one."""

    def __init__(self) -> None:
        pass

    def advance(self) -> None:
        """Says nothing."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes nothing."""

    def bar(self, pairs: Iterable[Any], total: int, what: str) -> Iterable[Any]:
        """Shows nothing."""
        return pairs

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Draws nothing."""

    def say(self, text: str) -> None:
        """Says nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass


def read_numbers(workdir: Path) -> list[dict[str, float]]:
    """The lines of a run's `metrics.jsonl`, without those that a kill cut short; none where there is no such file."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if math.isfinite(_step(line))]


def _step(line: str) -> float:
    """Of a line of `metrics.jsonl`; a line cut short by a kill counts as never written."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
