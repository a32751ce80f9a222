"""Fusing two videos frame by frame, in constant memory, without flicker.

The network chooses its prompts, channel attention and haze scale from each frame alone, and noise or a passing car
moves them. Here a frame is made with the running mean of the statistics of the frames before it; a cut starts anew.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from iassf_jax.align.placing import Placing, blended, placed_pair
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.fuse.fuser import Fuser, Percentiles, prepare_pair
from iassf_jax.fuse.strengths import FULL, Strengths

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")
_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
# Mean difference of two frames' 32x32 reductions in levels of 255 (seen: 1 to 10 in motion, 25 and more at cuts).
_CUT = 25.0


def is_video(path: str | Path) -> bool:
    """Whether a path is named like a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


class SteadyFuser:
    """Fuses the frames of one scene in their order, with global statistics that change slowly.

    Args:
        fuser: the network.
        smoothing: share of the frames before in the running mean, 0 to below 1; 0: each frame for itself. 0.9 follows a
            change within about ten frames.
        strengths: how much haze is taken off, and how much infrared is added.
    """

    def __init__(self, fuser: Fuser, smoothing: float = 0.9, strengths: Strengths = FULL) -> None:
        if not 0 <= smoothing < 1:
            raise UserError(f"smoothing is {smoothing:g}: use 0 (none) to below 1, e.g. 0.9")
        self.fuser = fuser
        self.smoothing = smoothing
        self.strengths = strengths
        self._known: Any = None
        self._small: np.ndarray | None = None

    def __call__(self, visible: np.ndarray, infrared: np.ndarray) -> dict[str, np.ndarray]:
        """Fuses the next frame.

        Args:
            visible: uint8|uint16|float[H, W, 3].
            infrared: the same types, [H, W].

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
        return {name: x[0] for name, x in out.items()}


@dataclasses.dataclass(frozen=True)
class _Video:
    path: str
    width: int
    height: int
    frames: int
    rate: float

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8[H, W, 3], R, G, B; one frame at a time."""
        reader = _opened(self.path)
        while True:
            there, frame = reader.read()
            if not there:
                break
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        reader.release()


def _opened(path: str) -> cv2.VideoCapture:
    if not Path(path).is_file():
        raise UserError(f"{path}: is not there, or is no file: give a video")
    reader = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    if not reader.isOpened():
        raise UserError(f"{path}: cannot be decoded as a video: convert it to .mp4 (H.264)")
    return reader


def _described(path: str) -> _Video:
    reader = _opened(path)
    there, frame = reader.read()
    if not there:
        raise UserError(f"{path}: holds no frame that can be decoded: convert it to .mp4 (H.264)")
    count, rate = reader.get(cv2.CAP_PROP_FRAME_COUNT), reader.get(cv2.CAP_PROP_FPS)
    reader.release()
    rate = rate if math.isfinite(rate) and 0 < rate < 1000 else 25.0
    return _Video(path, frame.shape[1], frame.shape[0], int(max(0, count)), rate)


def fuse_videos(
    fuser: Fuser,
    visible: str,
    infrared: str,
    output: str | Path,
    smoothing: float = 0.9,
    *,
    resize_infrared: bool = False,
    infrared_percentiles: Percentiles | None = None,
    strengths: Strengths = FULL,
    overwrite: bool = False,
    placing: Placing | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Fuses two videos of one scene, frame by frame, to a third.

    Args:
        fuser: the network.
        visible, infrared: video files of equal frame rate and, unless `resize_infrared`, size; frame i of one is taken
            with frame i of the other, to the end of the shorter.
        output: .mp4, .avi, .mkv, .mov or .m4v; written as a whole or not at all. Codecs want even sides: an odd video's
            last row or column comes twice.
        smoothing: see `SteadyFuser`.
        resize_infrared, infrared_percentiles: as `Fuser` takes them, for every frame.
        strengths: how much haze is taken off, and how much infrared is added.
        overwrite: replaces a file that is there.
        placing: how infrared frames lie in visible ones, as `Fuser` takes it.
        progress: called with the number of finished frames and of all (0 if the files do not say).

    Returns:
        The number of frames.

    Raises:
        UserError: a file that cannot be read or written, or videos that do not fit together.
    """
    output = Path(output)
    pair = _described(visible), _described(infrared)
    _check_output(output, pair, overwrite)
    if abs(pair[0].rate - pair[1].rate) > 0.01 * pair[0].rate:
        rates = f"{pair[0].rate:g} and {pair[1].rate:g} frames a second"
        raise UserError(f"{visible} and {infrared}: have {rates}: convert one of them, frames are paired by number")
    steady = SteadyFuser(fuser, smoothing, strengths)
    total = min(video.frames for video in pair)
    scratch = output.with_name(f".{output.stem}.{os.getpid()}.tmp{output.suffix}")
    count = 0
    try:
        writer = None
        try:
            for frame, heat in zip(*pair, strict=False):
                options = {"resize_infrared": resize_infrared, "infrared_percentiles": infrared_percentiles}
                frame, heat, weight = placed_pair(frame, heat, placing)
                out = steady(*prepare_pair(frame, heat, **options))
                fused = blended(out["fused"], out["dehazed"], weight)
                writer = writer or _writer(scratch, output, frame.shape[1::-1], pair[0].rate)
                writer.write(cv2.cvtColor(_even(fused), cv2.COLOR_RGB2BGR))
                count += 1
                progress(count, total)
        finally:
            if writer:
                writer.release()
        if _described(str(scratch)).frames < count:
            raise UserError(f"{output}: the video could not be written in full: free space on its disk")
        os.replace(scratch, output)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}): check the folder and the disk") from None
    finally:
        scratch.unlink(missing_ok=True)
    return count


def _check_output(output: Path, pair: tuple[_Video, _Video], overwrite: bool) -> None:
    if output.suffix.lower() not in _CODECS:
        raise UserError(f"{output}: a fused video is a file that ends in one of {', '.join(_CODECS)}: name it so")
    if output.resolve() in (Path(video.path).resolve() for video in pair):
        raise UserError(f"{output}: is an input and would be overwritten: choose another --output")
    if output.exists() and not overwrite:
        raise UserError(f"{output}: is there already: choose another --output, or --overwrite")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}): choose another folder") from None


def _even(frame: np.ndarray) -> np.ndarray:
    """With the last row and column once more where their number is odd: OpenCV's writer would leave them out."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _writer(scratch: Path, output: Path, size: tuple[int, int], rate: float) -> cv2.VideoWriter:
    codec = cv2.VideoWriter.fourcc(*_CODECS[output.suffix.lower()])
    size = tuple(n + n % 2 for n in size)  # as `_even` makes frames
    writer = cv2.VideoWriter(str(scratch), cv2.CAP_FFMPEG, codec, rate, size)
    if not writer.isOpened():
        raise UserError(f"{output}: cannot be written: check the folder and its permissions")
    return writer
