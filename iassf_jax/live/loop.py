"""The loop of `iassf_jax.live`: newest pairs by time, fused with maps that change slowly."""

import dataclasses
import math
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from iassf_jax.align.placing import Placing, placed_pair, weighted
from iassf_jax.data import images
from iassf_jax.data.levels import check_percentiles
from iassf_jax.data.notes import Note, without_options
from iassf_jax.errors import UserError
from iassf_jax.fuse.fuser import Fuser, load
from iassf_jax.fuse.prepare import Preparation, prepare_pair, refuse_swapped
from iassf_jax.fuse.reading import orientations
from iassf_jax.fuse.strengths import Strengths
from iassf_jax.fuse.video import SteadyFuser
from iassf_jax.fuse.video_files import turned
from iassf_jax.live.cameras import Begin, Camera, Frame

_STALE_AFTER = 1.0  # seconds without a new pair
_UNEXPLAINED = 5.0  # seconds without a first pair, until it is told what is waited for
_REPEAT = 0.25  # seconds between repetitions of a picture that is stale

_AS_IT_IS = Preparation(resize_infrared=True, infrared_percentiles=None, infrared_border="keep")  # looks cost time


@dataclasses.dataclass(frozen=True)
class LiveFrame:
    """One result.

    Attributes:
        visible: uint8[H, W, 3], R, G, B.
        infrared: on the pixels of the visible image, as the network sees it: uint8|uint16|float32[H, W].
        fused, dehazed: uint8[H, W, 3].
        haze_density: float32[H, W] in 0..1, or None.
        time: when the visible frame came (`time.monotonic`).
        latency: seconds from then until this result was ready.
        rate: results a second, a running mean.
        dropped: visible frames so far that came and were passed over.
        stale: the last good result once more, since a source gives nothing new.
        message: what is wrong, where something is.
    """

    visible: np.ndarray
    infrared: np.ndarray
    fused: np.ndarray
    dehazed: np.ndarray
    haze_density: np.ndarray | None
    time: float
    latency: float
    rate: float
    dropped: int
    stale: bool = False
    message: str = ""


class Live:
    """Two cameras, fused as their frames come; iterate over it, and close it.

    Attributes:
        strengths: how much haze goes and how much infrared is added; may be set at any time.
        percentiles: between which infrared values are stretched, smoothed over time; None: as they are.
    """

    def __init__(
        self,
        visible: str | int,
        infrared: str | int,
        *,
        fuser: Fuser | None = None,
        placing: Placing | None = None,
        infrared_delay: float = 0.0,
        smoothing_seconds: float = 1.0,
        infrared_percentiles: tuple[float, float] | None = None,
        strengths: Strengths | None = None,
    ) -> None:
        """Opens both sources.

        Args:
            visible, infrared: number of a device, a file (played at its own pace), a named pipe, or an address.
            fuser: the network; None: the shipped one.
            placing: how infrared frames lie in visible ones; None: stretched to the visible frame.
            infrared_delay: seconds by which an infrared frame comes later than the visible one of the same moment.
            smoothing_seconds: time over which haze maps change where the scene does not; 0: each frame for itself.
            infrared_percentiles: stretches infrared values, e.g. (1, 99) for raw thermal data; frames of 16 bits are
                stretched by these if nothing is given.
            strengths: see `Strengths`.

        Raises:
            UserError: a file that is not there, or a setting that cannot be.
        """
        if not (math.isfinite(smoothing_seconds) and smoothing_seconds >= 0):
            raise UserError(f"smoothing_seconds is {smoothing_seconds:g}: give 0 (none) or more, e.g. 1")
        if not (math.isfinite(infrared_delay) and abs(infrared_delay) <= 10):
            raise UserError(f"infrared_delay is {infrared_delay:g}: give seconds from -10 to 10")
        if infrared_percentiles is not None:
            check_percentiles(infrared_percentiles, "infrared")
        self.strengths = strengths or Strengths()
        self.percentiles = infrared_percentiles
        self._placing, self._delay, self._smoothing = placing, infrared_delay, smoothing_seconds
        self._steady = SteadyFuser(fuser or load(), 0.0)
        self._news = threading.Condition()
        self._begin = Begin()
        self._cameras: list[Camera] = []
        self._clock = _Clock()
        self._range: tuple[float, float] | None = None
        self._seen = 0  # the last visible frame's number
        self._taken = 0
        self._turns = (0, 0)
        self._closed = False
        try:
            for source, grey in ((visible, False), (infrared, True)):
                self._cameras.append(Camera(source, self._news, self._begin, grey, abs(infrared_delay)))
        except UserError:
            self.close()
            raise

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the cameras; the loop over it ends."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        for camera in self._cameras:
            camera.close()

    def __iter__(self) -> Iterator[LiveFrame]:
        """Results until a file ends or `close` is called.

        Raises:
            UserError: a source that cannot be read, or frames that do not fit together.
        """
        last: LiveFrame | None = None
        tell = time.monotonic() + _UNEXPLAINED
        try:
            while not self._closed:
                pair = self._wait(_STALE_AFTER if last is None or not last.stale else _REPEAT)
                if pair is not None:
                    if last is None:
                        self._warn_of_swapped()
                        self._agree_on_turns()
                    last = self._fused(*pair)
                    self._begin.set()  # what is compiled at the first frame takes longer than many a file plays
                    yield last
                elif self._closed or self._over():
                    return
                elif last is not None:
                    problem = self._problem()
                    if problem:
                        self._clock.restart()
                    last = dataclasses.replace(last, stale=True, message=problem or "no new frames", rate=0.0)
                    yield dataclasses.replace(last, latency=time.monotonic() - last.time)
                elif time.monotonic() >= tell:
                    tell = math.inf
                    self._warn_of_waiting()
        finally:
            self.close()

    def _wait(self, seconds: float) -> tuple[Frame, Frame] | None:
        """The newest pair that is not the last one; None where there is none within that time."""
        end = time.monotonic() + seconds
        with self._news:
            while not self._closed:
                pair = self._newest()
                if pair is not None and pair[0].number != self._seen:
                    self._seen = pair[0].number
                    self._taken += 1
                    return pair
                left = end - time.monotonic()
                if left <= 0 or self._over():
                    return None
                self._news.wait(left)
        return None

    def _newest(self) -> tuple[Frame, Frame] | None:
        visible, infrared = self._cameras
        newest = visible.newest(), infrared.newest()
        if None in newest or "lost" in (visible.state, infrared.state):
            return None
        first = newest[0] if self._delay <= 0 else visible.nearest(newest[1].time - self._delay)
        second = infrared.nearest(first.time + self._delay)
        if abs(second.time - first.time - self._delay) > _STALE_AFTER:
            return None
        return first, second

    def _warn_of_swapped(self) -> None:
        """A warning, since a camera by night may be grey and a thermal one in false colours."""
        try:
            refuse_swapped(*(camera.first for camera in self._cameras))
        except UserError as error:
            warnings.warn(str(error), stacklevel=3)

    def _warn_of_waiting(self) -> None:
        """A warning of sources that give nothing yet: e.g. nobody may write into a pipe."""
        silent = [camera.name for camera in self._cameras if camera.newest() is None]
        warnings.warn(f"waiting for {' and '.join(silent) or 'two frames of one moment'}", stacklevel=3)

    def _agree_on_turns(self) -> None:
        """Both files are turned as `fuse` turns videos."""
        notes: list[Note] = []
        visible, infrared = self._cameras
        self._turns = orientations((visible.turn, infrared.turn), "same", 0, notes)
        for note in notes:
            warnings.warn(without_options(str(note)), stacklevel=3)

    def _over(self) -> bool:
        for camera in self._cameras:
            if camera.state == "failed":
                raise UserError(camera.problem)
        return any(camera.state == "ended" for camera in self._cameras)

    def _problem(self) -> str:
        return "; ".join(camera.problem for camera in self._cameras if camera.problem)

    def _fused(self, visible: Frame, infrared: Frame) -> LiveFrame:
        upright = (turned(x.image, turn) for x, turn in zip((visible, infrared), self._turns, strict=True))
        frame, heat, weight = placed_pair(*upright, self._placing)
        pair = weighted(prepare_pair(images.three_channels(frame), self._stretched(heat), _AS_IT_IS, []), weight)
        self._steady.strengths = self.strengths
        self._steady.smoothing = self._clock.share(visible.time, self._smoothing)
        out: dict[str, Any] = self._steady(*pair)
        if (
            not self._begin.is_set() and self._smoothing
        ):  # mixing maps is compiled at the second frame: before files play
            self._steady.smoothing = 0.5
            out = self._steady(*pair)
        now = time.monotonic()
        rate = self._clock.rate(now)
        dropped = visible.number - self._taken
        return LiveFrame(
            pair.visible,
            pair.infrared,
            out["fused"],
            out["dehazed"],
            out.get("haze_density"),
            visible.time,
            now - visible.time,
            rate,
            dropped,
        )

    def _stretched(self, heat: np.ndarray) -> np.ndarray:
        """Between percentiles that change as slowly as the haze does: else one hot object would dim all others."""
        percentiles = self.percentiles or ((1.0, 99.0) if heat.dtype == np.uint16 else None)
        if percentiles is None:
            return heat
        now = np.percentile(heat[::2, ::2], percentiles)
        share = 0.0 if self._range is None else self._steady.smoothing
        self._range = tuple(float(b + share * (a - b)) for a, b in zip(self._range or now, now, strict=True))
        low, high = self._range
        return np.clip((heat - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)


class _Clock:
    """Times between frames and between results."""

    def __init__(self) -> None:
        self._frame: float | None = None
        self._result: float | None = None
        self._between: float | None = None

    def share(self, moment: float, seconds: float) -> float:
        """What the frames before count at this one."""
        passed = None if self._frame is None else max(0.0, moment - self._frame)
        self._frame = moment
        if passed is None or seconds == 0:
            return 0.0
        return min(0.99, math.exp(-passed / seconds))

    def restart(self) -> None:
        """After an outage, which would count for long in the mean of times between results."""
        self._result = self._between = None

    def rate(self, moment: float) -> float:
        """Results a second; 0 at the first."""
        if self._result is not None:
            passed = moment - self._result
            self._between = passed if self._between is None else 0.9 * self._between + 0.1 * passed
        self._result = moment
        return 1 / self._between if self._between else 0.0
