"""What the web page of `iassf-jax demo` does, without the page: examples, limits, uploads, results. Needs no Gradio."""

import contextlib
import dataclasses
import html
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from iassf_jax.align.placing import Placing, prepare_placed
from iassf_jax.align.rig import Rig
from iassf_jax.data import haze, images
from iassf_jax.data.levels import Percentiles, in_integers
from iassf_jax.data.notes import Note, without_options
from iassf_jax.demo.guard import Uploads
from iassf_jax.errors import UserError
from iassf_jax.fuse import fuser
from iassf_jax.fuse.prepare import Preparation, Prepared
from iassf_jax.fuse.reading import read_alone, read_pair
from iassf_jax.fuse.strengths import Strengths
from iassf_jax.report import pictures as visualize
from iassf_jax.runtime import CompileClock
from iassf_jax.scenes import generate_scene
from iassf_jax.weights import shipped

MAX_PIXELS = 4_000_000
EXAMPLE_SIZE = (288, 384)  # height, width; a few seconds on two CPU cores
KEPT_UPLOADS = 64  # of the largest size, with copies of results that pages show
KEPT_JOBS = 16  # results on disk, so that a page that stays open for days does not fill it
KEPT_SECONDS = 3600  # uploads and results

# Caption, lighting and seed of the scene, haze: three as the shipped weights know it, one as they do not.
_EXAMPLES = (
    ("Day", "day", 4, haze.HazeParams("msrs_release", (0.55,) * 3, 0.04, 0.5, half_range=True)),
    ("Dusk", "dusk", 1, haze.HazeParams("msrs_release", (0.5,) * 3, 0.035, 0.5, half_range=True)),
    ("Night", "night", 2, haze.HazeParams("msrs_release", (0.4,) * 3, 0.03, 0.5, half_range=True)),
    ("Depth haze", "day", 6, haze.HazeParams("depth", (0.82, 0.83, 0.85), 0.02)),
)
STRETCH = "Stretch the infrared image between percentiles"
"""The name of the page's option."""
_OTHERWISE = {  # what options of the command line do, and what the page has for it
    ", or stretch it (infrared_percentiles, --infrared-percentiles 1 99)": f', or choose "{STRETCH}"',
    ", or stretch it (visible_percentiles, --visible-percentiles 1 99)": "",
    ", or read what is there (--damaged read)": "",
}


@dataclasses.dataclass(frozen=True)
class Example:
    """A generated pair on disk."""

    caption: str
    visible: Path  # hazy, uint8 RGB
    infrared: Path  # uint8 grey


@dataclasses.dataclass(frozen=True)
class Options:
    """What the page lets its user choose; see `Fuser`."""

    weights: str = shipped.DEFAULT
    stretch: bool = False
    low: float = 1.0
    high: float = 99.0
    resize_infrared: bool = False
    dehaze_strength: float = 1.0
    infrared_strength: float = 1.0
    t0: float | None = None  # also 0: the weights' own, for a field of numbers cannot stay empty
    rig: str | None = None  # a file of `iassf-jax align`

    def percentiles(self) -> Percentiles:
        """The infrared percentiles to stretch between; a UserError where one of the fields is empty."""
        if not self.stretch:
            return "auto"
        if self.low is None or self.high is None:
            raise UserError("infrared percentiles: fill in both, e.g. 1 and 99")
        return self.low, self.high

    def strengths(self) -> Strengths:
        """How much haze is taken off and how much infrared is added; a UserError outside their ranges."""
        return Strengths(self.dehaze_strength, self.infrared_strength, self.t0 or None)


@dataclasses.dataclass(frozen=True)
class Job:
    """One result. Files are PNGs of 8 bits; `density_map` is None where the network estimates no haze density."""

    hazy: Path
    infrared: Path  # as the network sees it
    density_map: Path | None  # in colours
    density: Path | None  # grey: 255 times the density, as `iassf-jax fuse` saves it
    dehazed: Path
    fused: Path
    prompt_weights: Mapping[str, np.ndarray]  # "ir" and "vi" -> float32[N]
    message: str
    notes: tuple[str, ...]


class Session:
    """The networks, files and limits behind one page."""

    def __init__(
        self,
        folder: Path,
        checkpoint: str | None = None,
        max_pixels: int = MAX_PIXELS,
        uploads: Path | None = None,
    ) -> None:
        """Loads the first network, so that a bad checkpoint is told before the page is there.

        Args:
            folder: for results; an existing one that the caller removes.
            checkpoint: weights to begin with, whatever `load` takes; None: the shipped ones.
            max_pixels: the largest image, height times width.
            uploads: folder of what the page keeps; None: one beside the results.

        Raises:
            UserError: no such weights, damaged ones, or a limit that leaves no image.
        """
        if max_pixels < 1:
            raise UserError(f"--max-pixels {max_pixels}: give 1 or more")
        self.folder = folder
        self.max_pixels = max_pixels
        self.uploads = Uploads(uploads or folder.with_name("page"), KEPT_UPLOADS * self.max_bytes)
        self.first = checkpoint or shipped.DEFAULT
        self._jobs: deque[Path] = deque()
        self._networks: dict[str, fuser.Fuser] = {}
        self._lock = threading.Lock()
        self._network(self.first)

    @property
    def max_bytes(self) -> int:
        """Of an upload: an uncompressed image of 16 bits with alpha, and its header."""
        return 8 * self.max_pixels + 2**20

    def choices(self) -> list[str]:
        """The weights that the page offers."""
        return list(dict.fromkeys([self.first, *shipped.names()]))

    def haze_line(self, weights: str) -> str:
        """What haze the weights know, in one line."""
        if weights not in shipped.names():
            return f"{weights}: your own weights, without a card that says which haze they know"
        return f"{weights} knows this haze: {shipped.card(weights)['haze']}"

    def preview(self, visible: str | None, infrared: str | None) -> tuple[Path | None, Path | None]:
        """Reads what has been uploaded so far and writes it as PNGs of 8 bits that any browser shows.

        Raises:
            UserError: an image is unreadable or too large.
        """
        seen = self._read(visible, infrared, [])
        folder = self._job_folder()
        pictures = []
        for name, side, image in zip(("hazy", "infrared"), ("visible", "infrared"), seen, strict=True):
            if image is not None:
                images.write_image(folder / f"{name}.png", images.to_8_bits(in_integers(image, side)))
            pictures.append(None if image is None else folder / f"{name}.png")
        return tuple(pictures)

    def run(self, visible: str | None, infrared: str | None, options: Options | None = None) -> Job:
        """Dehazes and fuses one pair of files.

        Args:
            visible: a file that `data.images` reads.
            infrared: the same, aligned with it.
            options: None: the defaults.

        Raises:
            UserError: in one line, for the page: a file that is missing, unreadable, damaged or too large, sizes that
                differ, or options that cannot be.
        """
        options = options or Options()
        if visible is None or infrared is None:
            raise UserError("two images are needed: choose an example, or upload a visible and an infrared image")
        percentiles = options.percentiles()
        network = self._network(options.weights)
        notes: list[Note] = []
        seen = self._read(visible, infrared, notes)
        with warnings.catch_warnings(record=True) as caught, CompileClock() as clock:
            warnings.simplefilter("always", UserWarning)
            try:
                placing = Placing(Rig.read(options.rig)) if options.rig else None
                pair = prepare_placed(*seen, Preparation(options.resize_infrared, percentiles), placing, notes)
                start = time.perf_counter()
                result = network.fuse_prepared(pair, options.strengths())
                seconds = time.perf_counter() - start
            except UserError as error:
                raise UserError(for_page(str(error), options.rig)) from None
        said = [*map(str, notes), *(str(w.message) for w in caught if issubclass(w.category, UserWarning))]
        message = time_taken(pair.visible.shape, seconds, clock.seconds)
        return self._write(pair, result, message, tuple(dict.fromkeys(map(for_page, said))))

    def _write(self, pair: Prepared, result: fuser.Result, message: str, notes: tuple[str, ...]) -> Job:
        visible, infrared = (
            x if x.dtype.kind == "u" else np.rint(255 * x).astype(np.uint8) for x in (pair.visible, pair.infrared)
        )
        density = result.haze_density
        pictures = {
            "hazy": images.to_8_bits(visible),
            "infrared": images.to_8_bits(infrared),
            "density_map": None if density is None else visualize.colour_map(density),
            "density": None if density is None else images.in_grey(density),
            "dehazed": result.dehazed,
            "fused": result.fused,
        }
        files, folder = {}, self._job_folder()
        for name, picture in pictures.items():
            files[name] = None if picture is None else folder / f"{name}.png"
            if picture is not None:
                images.write_image(files[name], picture)
        return Job(**files, prompt_weights=result.prompt_weights, message=message, notes=notes)

    def _read(
        self, visible: str | None, infrared: str | None, notes: list[Note]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What there is of a pair, as `fuse` reads it, after a look at the headers; messages name no folders."""
        try:
            for path in filter(None, (visible, infrared)):
                self._check_size(path)
            if visible is not None and infrared is not None:
                return read_pair(visible, infrared, "same", False, notes)
            sides = (("visible", visible), ("infrared", infrared))
            first, second = (None if path is None else read_alone(path, side, notes) for side, path in sides)
            return first, second
        except UserError as error:
            raise UserError(for_page(str(error), visible, infrared)) from None

    def _check_size(self, path: str) -> None:
        height, width = images.image_size(path)
        if height * width > self.max_pixels:
            raise UserError(
                f"{path}: {width} x {height} are more than the {self.max_pixels:,} pixels of this page: "
                "make it smaller, or start the page with a larger --max-pixels"
            )

    def _network(self, weights: str) -> fuser.Fuser:
        if weights not in self.choices():
            raise UserError(f"weights '{weights}' are not offered here: choose one of {', '.join(self.choices())}")
        with self._lock:
            if weights not in self._networks:
                self._networks[weights] = fuser.load(weights)
            return self._networks[weights]

    def sweep(self) -> None:
        """Removes the results that are older than `KEPT_SECONDS`."""
        for folder in self.folder.glob("job*"):
            with contextlib.suppress(FileNotFoundError):  # a job has removed it
                if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)

    def _job_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="job", dir=self.folder))
        self._jobs.append(folder)
        self.uploads.make_room()
        self.sweep()
        while len(self._jobs) > KEPT_JOBS:
            shutil.rmtree(self._jobs.popleft(), ignore_errors=True)
        return folder


def make_examples(folder: Path) -> list[Example]:
    """Writes the examples: generated scenes with haze, the same ones every time."""
    made = []
    for caption, lighting, seed, params in _EXAMPLES:
        scene = generate_scene(seed, *EXAMPLE_SIZE, lighting)
        hazy = haze.apply_haze(scene.visible, params, scene.depth)
        stem = re.sub(r"\W+", "_", caption.lower())
        example = Example(caption, folder / f"{stem}_visible.png", folder / f"{stem}_infrared.png")
        images.write_image(example.visible, hazy)
        images.write_image(example.infrared, scene.infrared)
        made.append(example)
    return made


def time_taken(shape: tuple[int, ...], seconds: float, compiling: float) -> str:
    """The line under a result: the image's [H, W, ...] and what it took, compiling said apart."""
    line = f"{max(seconds - compiling, 0):.1f} s for {shape[1]} x {shape[0]} pixels"
    if compiling < 0.1:
        return line
    return f"{line}, after {compiling:.1f} s of compiling for this size (the first time only)"


def for_page(message: str, *paths: str | None) -> str:
    """One line, without the folders of paths and the names of Python's and the command line's options."""
    for path in filter(None, paths):
        message = message.replace(str(path), Path(path).name)
    for words, here in _OTHERWISE.items():
        message = message.replace(words, here)
    return " ".join(without_options(message).split())


def status_html(message: str, notes: tuple[str, ...] = (), error: bool = False) -> str:
    """A message and its notes as HTML; whatever they quote (names of files) is text."""
    if error:
        return f'<div class="iassf-error" role="alert">{html.escape(message)}</div>'
    lines = "".join(f'<div class="iassf-note">Note: {html.escape(note)}</div>' for note in notes)
    return f'<div class="iassf-done" role="status">{html.escape(message)}</div>{lines}'


def prompt_weights_html(weights: Mapping[str, np.ndarray]) -> str:
    """How much each learned prompt counts, float[N] a side, as a table of bars."""
    sides = [(title, weights[key]) for key, title in (("vi", "visible"), ("ir", "infrared")) if key in weights]
    if not sides:
        return '<div class="iassf-note">This network has no learned prompts.</div>'
    head = "".join(f'<th scope="col">{title}</th>' for title, _ in sides)
    most = max(float(values.max()) for _, values in sides)
    rows = ""
    for i in range(max(len(values) for _, values in sides)):
        cells = "".join(_bar(float(values[i]), most) if i < len(values) else "<td></td>" for _, values in sides)
        rows += f'<tr><th scope="row">prompt {i + 1}</th>{cells}</tr>'
    return f'<table class="iassf-weights"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _bar(value: float, most: float) -> str:
    share = max(value, 0.0) / most if most > 0 else 0.0
    return f'<td><span class="iassf-bar" style="--share:{share:.3f}"></span><span>{value:.2f}</span></td>'
