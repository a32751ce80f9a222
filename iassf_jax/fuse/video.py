"""Fusing two videos frame by frame, in constant memory, without flicker.

The network chooses its prompts, channel attention and haze scale from each frame alone, and noise or a passing car
moves them. Here a frame is made with the running mean of the statistics of the frames before it; a cut starts anew.
"""

import contextlib
import numbers
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from iassf_jax.align.placing import Placing, placed_pair, weighted
from iassf_jax.data import images
from iassf_jax.data.layouts import Problem
from iassf_jax.data.notes import Note
from iassf_jax.errors import UserError
from iassf_jax.files import SCRATCH, scratch_of
from iassf_jax.fuse import video_files
from iassf_jax.fuse.clip import prepare_clip
from iassf_jax.fuse.fuser import Fuser, without_border
from iassf_jax.fuse.prepare import DEFAULT, Preparation
from iassf_jax.fuse.reading import check_orient, orientations
from iassf_jax.fuse.strengths import FULL, Strengths
from iassf_jax.fuse.video_files import CODECS, Frames, Video, described
from iassf_jax.locks import locked

# Mean difference of two frames' 32x32 reductions in levels of 255 (seen: 1 to 10 in motion, 25 and more at cuts).
_CUT = 25.0


class SteadyFuser:
    """Fuses the frames of one scene in their order, with global statistics that change slowly.

    Args:
        fuser: the network.
        smoothing: share of the frames before in the running mean, 0 to below 1; 0: each frame for itself. 0.9 follows a
            change within about ten frames.
        strengths: how much haze is taken off, and how much infrared is added.
    """

    def __init__(self, fuser: Fuser, smoothing: float = 0.9, strengths: Strengths = FULL) -> None:
        if not (isinstance(smoothing, numbers.Real) and 0 <= smoothing < 1):
            raise UserError(f"smoothing is {smoothing}: use 0 (none) to below 1, e.g. 0.9")
        self.fuser = fuser
        self.smoothing = smoothing
        self.strengths = strengths
        self._known: Any = None
        self._small: np.ndarray | None = None

    def __call__(
        self, visible: np.ndarray, infrared: np.ndarray, border: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Fuses the next frame.

        Args:
            visible: uint8|uint16|float[H, W, 3].
            infrared: the same types, [H, W].
            border: bool[H, W], where the infrared frame says nothing.

        Returns:
            As the predictor gives, without the batch axis.
        """
        small = cv2.resize(images.to_float(visible) * 255, (32, 32), interpolation=cv2.INTER_AREA)
        if self._small is not None and np.abs(small - self._small).mean() > _CUT:
            self._known = None
        self._small = small
        out, self._known = self.fuser.predictor.steady(
            visible[None], infrared[None], self._known, self.smoothing, self.strengths
        )
        return without_border({name: x[0] for name, x in out.items()}, border)


class Outcome(NamedTuple):
    """The number of frames, what is to be said of the videos, and which of them ended early."""

    frames: int
    notes: list[Note]
    problems: list[Problem]


def fuse_videos(
    fuser: Fuser,
    visible: str,
    infrared: str,
    output: str | Path,
    smoothing: float = 0.9,
    *,
    preparation: Preparation = DEFAULT,
    orient: str = "same",
    strengths: Strengths = FULL,
    overwrite: bool = False,
    placing: Placing | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Fuses two videos of one scene, frame by frame, to a third.

    Args:
        fuser: the network.
        visible, infrared: video files of equal frame rate and, unless resized, size; frame i of one is taken with frame
            i of the other, to the end of the shorter. Grey ones of 16 bits are read as such.
        output: .mp4, .avi, .mkv, .mov or .m4v; written as a whole or not at all. Codecs want even sides: an odd video's
            last row or column comes twice.
        smoothing: see `SteadyFuser`.
        preparation: see `Preparation`; limits are those of the clip, see `prepare_clip`.
        orient: one of `reading.ORIENTS`: whether the turn that phones write into a video is applied.
        strengths: how much haze is taken off, and how much infrared is added.
        overwrite: replaces a file that is there.
        placing: a rig, by which infrared frames lie in visible ones.
        progress: called with the number of finished frames and of all (0 if the files do not say).

    Raises:
        UserError: a file that cannot be read or written, or videos that do not fit together.
    """
    output = Path(output)
    check_orient(orient)
    if placing is not None and placing.register:
        raise UserError("--register is for images: align a video's cameras once, with iassf-jax align, and give --rig")
    pair = described(visible), described(infrared)
    _check_output(output, pair, overwrite)
    notes: list[Note] = []
    video_files.compare_rates(pair, notes)
    turns = orientations((pair[0].turn, pair[1].turn), orient, 0, notes)
    steady = SteadyFuser(fuser, smoothing, strengths)
    sides = Frames(pair[0], turns[0]), Frames(pair[1], turns[1])
    sizes = [video.size(turn) for video, turn in zip(pair, turns, strict=True)]
    size, weight = (sizes[0], None) if placing is None else placing.layout(*sizes)
    frames = (placed_pair(*both, placing)[:2] for both in zip(*sides, strict=False))
    clip = prepare_clip(frames, preparation, notes)
    fused = (steady(*weighted(prepared, weight))["fused"] for prepared in clip)
    total = min(video.frames for video in pair)
    _sweep(output.parent)
    with locked(output.parent, "--output", shared=True):
        count = _write_video(fused, output, pair[0].rate, size, lambda n: progress(n, total))
    return Outcome(count, notes, list(_ended_early(pair, sides)))


def _sweep(folder: Path) -> None:
    """Removes the videos that killed runs were writing, unless somebody works in the folder."""
    with contextlib.suppress(UserError), locked(folder, "--output"):
        for suffix in CODECS:
            for path in folder.glob(f"{SCRATCH}*{suffix}"):
                path.unlink(missing_ok=True)


def _write_video(
    frames: Iterable[np.ndarray], output: Path, rate: float, size: tuple[int, int], progress: Callable[[int], None]
) -> int:
    """Writes uint8[H, W, 3] of (width, height) as a whole or not at all; the number of frames."""
    scratch = scratch_of(output)
    count = 0
    try:
        writer = video_files.writer(scratch, output, rate, size)
        try:
            for count, frame in enumerate(frames, 1):
                writer.write(cv2.cvtColor(video_files.even(frame), cv2.COLOR_RGB2BGR))
                progress(count)
        finally:
            writer.release()
        video_files.finish(scratch, output, count)
    finally:
        scratch.unlink(missing_ok=True)
    return count


def _ended_early(pair: tuple[Video, Video], sides: tuple[Frames, Frames]) -> Iterator[Problem]:
    """Of a video that is shorter than the other, or than it says. Some files estimate how long they are."""
    for side in sides:
        side.close()
    counts = [side.count for side in sides]
    for video, count, others, other in zip(pair, counts, counts[::-1], pair[::-1], strict=True):
        promised = video.frames if count < video.frames - max(2, 0.02 * video.frames) else 0
        if count < others or promised:
            says = f" of the {promised} that it announces" if promised else ""
            has = f"{other.path} has {others}: the first {min(counts)} are fused"
            yield Problem(video.path, f"ended after {count} frames{says}, {has}")


def _check_output(output: Path, pair: tuple[Video, Video], overwrite: bool) -> None:
    if output.suffix.lower() not in CODECS:
        raise UserError(f"{output}: a fused video is a file that ends in one of {', '.join(CODECS)}: name it so")
    if output.resolve() in (Path(video.path).resolve() for video in pair):
        raise UserError(f"{output}: is an input and would be overwritten: choose another --output")
    if output.exists() and not overwrite:
        raise UserError(f"{output}: is there already: choose another --output, or --overwrite")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}): choose another folder") from None
