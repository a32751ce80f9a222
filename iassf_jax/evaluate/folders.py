"""Scores folders of fused images, any number of methods side by side, and writes the report."""

import concurrent.futures
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from iassf_jax import __version__
from iassf_jax.data import images
from iassf_jax.data.layouts import Problem, doubled, list_images
from iassf_jax.data.orientation import exif_orientation, upright
from iassf_jax.errors import UserError
from iassf_jax.evaluate.scores import COLUMNS, dehazing_scores, spread
from iassf_jax.metrics import DEHAZING_METRICS, fusion_columns
from iassf_jax.metrics.fusion_scores import fusion_scores
from iassf_jax.metrics.nrqm import ForestModel
from iassf_jax.report import Grid, Method, write_report
from iassf_jax.report.published import published_tables

SCORES_FILE = "scores.jsonl"
Job = tuple[str, str, tuple[Path, ...]]
"""Method, stem, and the files: fused, infrared, visible, and dehazed where there is one."""
_NUM_GRID_ROWS = 3


def score_folders(
    methods: Sequence[tuple[str, str | Path]],
    visible: str | Path,
    infrared: str | Path,
    output: str | Path,
    *,
    dehazed: Sequence[str | Path] = (),
    color: str = "gray",
    nrqm_model: str | Path | None = None,
    workers: int = 2,
    published: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Path], list[Problem], int]:
    """Scores every fused image that has a visible and an infrared partner of its name, and writes `report.html`.

    What is scored already, with the same files and settings, is taken from `output/scores.jsonl`.

    Args:
        methods: (name, folder of fused images) each.
        visible, infrared: folders of the sources; the paper's protocol takes the clear visible images.
        output: folder for the report and its tables.
        dehazed: folders of the methods' dehazed images, in their order, to be compared with the visible ones; or none.
        color: as in `fusion_scores`.
        nrqm_model: the authors' `model.mat` for Q_PI; without it Q_PI is reported as absent.
        workers: threads.
        published: tables of the paper to show beside, e.g. ("I",).
        progress: called with (done, total) images.

    Returns:
        The files written, what was left out, each with its reason, and how many pairs have no fused image.

    Raises:
        UserError: no image to score, or a folder or model that cannot be used.
    """
    published_tables(published)  # refuses unknown names before the work
    model = ForestModel.load(nrqm_model) if nrqm_model else None
    sources = [_by_stem(folder) for folder in (visible, infrared)]
    jobs, problems = _jobs(methods, sources, dehazed)
    settings = f"{__version__} upright {color} {_digest([Path(nrqm_model)]) if nrqm_model else ''}"
    score = functools.partial(_score, color, model, settings, _Cache(Path(output) / SCORES_FILE))
    scores, failed = _scored(jobs, score, workers, progress)
    problems += failed
    if not scores:
        first = problems[0]
        raise UserError(f"no image could be scored; the first of {len(problems)}: {first.path}: {first.reason}")
    columns, absent = fusion_columns(model is not None, bool(published))
    about = {"iassf_jax": __version__, "visible": visible, "infrared": infrared, "colour protocol": color}
    lacking = len(sources[0].keys() & sources[1].keys() - {stem for _, stem, _ in jobs})
    about |= {f"fused by {name}": folder for name, folder in methods}
    about |= {"left out": len(problems), "pairs without a fused image": lacking}
    rows = [Method(name, of_method) for name, of_method in scores.items()]
    columns = (*(DEHAZING_METRICS if dehazed else ()), *columns)
    shown = {"about": {name: str(value) for name, value in about.items()}, "grids": _grids(rows, jobs)}
    files = write_report(Path(output), "Fusion metrics", rows, columns, absent=absent, published=published, **shown)
    return files, problems, lacking


def _score(
    color: str, model: ForestModel | None, settings: str, cache: "_Cache", paths: tuple[Path, ...]
) -> dict[str, float] | Problem:
    """The scores of one fused image, known ones where files and settings are the same; or why there are none."""
    try:
        key = f"{settings} {_digest(paths)}"
        found = cache.get(key)
        if found is None:
            fused, infrared, visible, *dehazed = _read(*paths)
            found = fusion_scores(fused, infrared, visible, color, model)
            if dehazed:
                found |= {COLUMNS[name]: x for name, x in _compared(dehazed[0], visible, paths[3]).items()}
            cache.put(key, found)
        return found
    except (UserError, ValueError, OSError) as error:
        return Problem(str(paths[0]), str(error).removeprefix(f"{paths[0]}: "))


def _compared(dehazed: np.ndarray, clear: np.ndarray, path: Path) -> dict[str, float]:
    if dehazed.shape != clear.shape or clear.ndim != 3:
        raise UserError(f"{path}: is {dehazed.shape}, the visible image {clear.shape}: give colour images of one size")
    return dehazing_scores(dehazed, clear)


def _scored(
    jobs: Sequence[Job],
    score: Callable[[tuple[Path, ...]], dict[str, float] | Problem],
    workers: int,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, dict[str, dict[str, float]]], list[Problem]]:
    """Method -> image -> scores, of those that could be scored, and what could not, by so many threads."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    problems = []
    with concurrent.futures.ThreadPoolExecutor(max(1, workers)) as pool:
        results = pool.map(score, (paths for *_, paths in jobs))
        for done, ((name, stem, _), result) in enumerate(zip(jobs, results, strict=True), 1):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                scores.setdefault(name, {})[stem] = result
            progress(done, len(jobs))
    return scores, problems


def _by_stem(folder: str | Path) -> dict[str, Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder")
    found = list_images(folder)
    if not found:
        raise UserError(f"{folder}: holds no images")
    for paths in found.values():
        if len(paths) > 1:
            twice = doubled(paths)
            raise UserError(f"{twice.path}: {twice.reason}")
    return {stem: Path(paths[0]) for stem, paths in found.items()}


def _jobs(
    methods: Sequence[tuple[str, str | Path]], sources: Sequence[Mapping[str, Path]], dehazed: Sequence[str | Path]
) -> tuple[list[Job], list[Problem]]:
    names = [name for name, _ in methods]
    if dehazed and len(dehazed) != len(methods):
        raise UserError(f"{len(methods)} --fused and {len(dehazed)} --dehazed: give each method one, or none")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two methods are named {repeated[0]!r}: give each a --name of its own")
    jobs, problems = [], []
    kinds = ("visible", "infrared", *(["dehazed"] if dehazed else []))
    fused = {name: _by_stem(folder) for name, folder in methods}
    for i, name in enumerate(names):
        others = [*sources, *([_by_stem(dehazed[i])] if dehazed else [])]
        for stem, path in fused[name].items():
            missing = [what for what, found in zip(kinds, others, strict=True) if stem not in found]
            if missing:
                problems.append(Problem(str(path), f"there is no {' and no '.join(missing)} image of this name"))
            else:
                visible, infrared, *more = (found[stem] for found in others)
                jobs.append((name, stem, (path, infrared, visible, *more)))
    wanted = {stem for _, stem, _ in jobs}
    for name, folder in methods:
        for stem in sorted(wanted - fused[name].keys()):
            problems.append(Problem(str(folder), f"has no image {stem!r}, which another method has"))
    return jobs, problems


def _read(fused: Path, infrared: Path, visible: Path, *more: Path) -> list[np.ndarray]:
    """uint8[H, W] or uint8[H, W, 3] each; all upright where `fuse` turns the sources, else as they are stored."""
    paths = (fused, infrared, visible, *more)
    files = [images.read_file(path) for path in paths]
    tags = [exif_orientation(data) for data in files]
    found = [images.decode_image(path, data) for path, data in zip(paths, files, strict=True)]
    for path, image in zip(paths, found, strict=True):
        if image.dtype == np.uint16:
            raise UserError(f"{path}: has 16 bits, the metrics are defined on 8: convert it as you would show it")
    return [upright(image, tag) for image, tag in zip(found, tags, strict=True)] if tags[1] == tags[2] else found


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()


class _Cache:
    """Scores by key, one JSON line each; lines that are damaged count as missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, float]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            self._ends_whole = not lines or path.read_bytes().endswith(b"\n")
        except OSError as error:
            raise UserError(f"{path}: cannot be used ({error.strerror}): choose another --output") from None
        for line in lines:
            try:
                record = json.loads(line)
                self._known[record["key"]] = {name: float(x) for name, x in record["scores"].items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                continue

    def get(self, key: str) -> dict[str, float] | None:
        return self._known.get(key)

    def put(self, key: str, scores: Mapping[str, float]) -> None:
        known = {name: value if np.isfinite(value) else str(value) for name, value in scores.items()}
        line = json.dumps({"key": key, "scores": known}) + "\n"
        with self._path.open("a") as file:  # one write a line: threads do not mix
            file.write(line if self._ends_whole else "\n" + line)
        self._ends_whole = True


def _grids(methods: Sequence[Method], jobs: Sequence[Job]) -> list[Grid]:
    """A few images that every method has, spread over the list."""
    common = sorted(set.intersection(*(set(method.scores) for method in methods)))
    if not common:
        return []
    files = {(name, stem): paths for name, stem, paths in jobs}
    chosen = [common[i] for i in spread(len(common), _NUM_GRID_ROWS)]
    rows = []
    for stem in chosen:
        first, *others = (files[method.name, stem] for method in methods)
        fused, infrared, visible, *more = _read(*first[:3], *(paths[0] for paths in others))
        rows.append([visible, infrared, fused, *more])
    return [Grid(("visible", "infrared", *(method.name for method in methods)), rows, chosen)]
