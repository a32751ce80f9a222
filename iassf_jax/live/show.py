"""`iassf-jax live`: shows what the loop gives, and listens to keys."""

import contextlib
import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

from iassf_jax.data import images
from iassf_jax.live.loop import Live
from iassf_jax.live.outputs import Recording
from iassf_jax.live.views import VIEWS, render

KEYS = "v view, h H haze taken off less more, i I infrared less more, r record, s still, q quit"


class Show:
    """The state that keys change.

    Attributes:
        view: of `VIEWS`.
        shown: pictures so far.
    """

    def __init__(self, live: Live, output: Any, view: str = VIEWS[0], folder: str | Path = ".") -> None:
        """Args: the loop, where pictures go, what is shown first, and the folder of recordings and stills."""
        self.live, self.output, self.view, self.folder = live, output, view, Path(folder)
        self.shown = 0
        self._recording: Recording | None = None
        self._note = ""

    def run(self, most: int | None = None) -> None:
        """Shows results until a source ends, the user leaves, or `most` are shown."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.output.close)
            stack.callback(self._stop_recording)
            stack.enter_context(self.live)
            for frame in self.live:
                now = time.monotonic()
                if self._recording:
                    self._recording.show(render(frame, self.view), now)
                self.shown += 1
                note = None if isinstance(self.output, Recording) else self._note
                key = self.output.show(render(frame, self.view, note), now)
                if key == "q" or self.shown == most:
                    return
                self.press(key, frame.fused)

    def press(self, key: str, fused: Any = None) -> None:
        """What a key does; see `KEYS`. Other keys do nothing."""
        strengths = self.live.strengths
        steps = {"h": ("dehaze", -0.1), "H": ("dehaze", 0.1), "i": ("infrared", -0.1), "I": ("infrared", 0.1)}
        if key in steps:
            name, step = steps[key]
            value = round(min(1.0, max(0.0, getattr(strengths, name) + step)), 2)
            self.live.strengths = dataclasses.replace(strengths, **{name: value})
            self._note = f"{name} {value:.1f}"
        elif key == "v":
            self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
            self._note = self.view
        elif key == "s" and fused is not None:
            path = self._free_name("still", ".png")
            images.write_image(path, fused)
            self._note = f"saved {path.name}"
        elif key == "r" and self._recording:
            path = self._recording.path
            self._stop_recording()
            self._note = f"saved {path.name}"
        elif key == "r":
            self._recording = Recording(self._free_name("recording", ".mp4"))
            self._note = "recording"

    def _free_name(self, kind: str, suffix: str) -> Path:
        """One that no file in the folder has: a second has room for several keys."""
        stem = time.strftime(f"{kind}-%Y%m%d-%H%M%S")
        names = (stem + (f"-{n}" if n > 1 else "") + suffix for n in itertools.count(1))
        return next(path for name in names if not (path := self.folder / name).exists())

    def _stop_recording(self) -> None:
        if self._recording:
            self._recording.close()
            self._recording = None
