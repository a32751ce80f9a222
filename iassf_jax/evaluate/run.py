"""Evaluation of a trained network on a data split: images, all metrics, baselines, and the report."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from iassf_jax import __version__
from iassf_jax.data import images, pipeline
from iassf_jax.data.layouts import format_problems
from iassf_jax.data.roots import split_roots
from iassf_jax.errors import UserError
from iassf_jax.evaluate import cost
from iassf_jax.evaluate import scores as evaluation
from iassf_jax.evaluate.baselines import baselines
from iassf_jax.files import write_bytes
from iassf_jax.fuse.network import make_predictor
from iassf_jax.metrics import DEHAZING_METRICS, fusion_columns
from iassf_jax.metrics.fusion_scores import fusion_scores, means
from iassf_jax.metrics.nrqm import ForestModel
from iassf_jax.models import build_model
from iassf_jax.report import Grid, Method, read_means, write_report
from iassf_jax.report.formats import csv_text
from iassf_jax.report.pictures import sample_grid
from iassf_jax.report.published import published_tables
from iassf_jax.train.config_checks import check_config
from iassf_jax.train.run_config import load_config
from iassf_jax.weights.formats import Weights, read_weights

# Method -> image -> metric -> value.
Scores = dict[str, dict[str, dict[str, float]]]
_KINDS, _SOURCES = ("dehazed", "fused"), ("hazy", "infrared", "clear")


def evaluate_run(
    checkpoint: str | Path,
    output: str | Path,
    config: ConfigDict | None = None,
    split: str = "test",
    limit: int = 0,
    *,
    with_baselines: bool = False,
    nrqm_model: str | Path | None = None,
    published: Sequence[str] = (),
) -> int:
    """Dehazes, fuses and scores the images of a split at full size.

    Writes `dehazed/STEM.png` and `fused/STEM.png`, `samples.png`, `metrics.csv` (an image a line), `metrics.json`
    (means and what was evaluated) and `report.html` with its tables.

    Args:
        checkpoint: folder of a training run, or weights in any form that `read_weights` takes.
        output: folder for the results; an earlier evaluation's results there are replaced.
        config: whose `data` and `eval` sections are used; default: the run's own.
        split: "train", "val", "test" or "all".
        limit: so many images, spread evenly; 0 for all.
        with_baselines: scores the two-stage baselines on the same images, for the report, and writes these to `hazy/`,
            `infrared/` and `clear/`, so that other methods can be run on them.
        nrqm_model: the forests for Q_PI; without them it is reported as absent.
        published: tables of the paper to show in the report, e.g. ("I",).

    Returns:
        Exit code: 1 where files had to be left out (they are listed on stderr), else 0.

    Raises:
        UserError: no usable checkpoint, data or model, or nothing can be written.
    """
    settings, output = _settings(checkpoint, config), Path(output)
    _check_output(output, split_roots(settings.data.root) if settings.data.source == "pairs" else ())
    published_tables(published)  # refuses unknown names before the work
    forests = ForestModel.load(nrqm_model) if nrqm_model else None
    weights = read_weights([checkpoint])
    source, found = pipeline.make_source(settings.data, split)
    _check_output(output, {str(Path(path).parent) for pair in found.pairs for path in pair.files().values()})
    model = build_model(weights.model)
    predictor = make_predictor(model, weights.params, settings.eval.pad_multiple)

    indices = evaluation.spread(len(source), limit or len(source))
    examples = (pipeline.whole_example(source, i, settings.data.haze, settings.eval.seed) for i in indices)
    results = evaluation.predict(predictor, examples, settings.eval.batch_size)
    _clear(output)
    name = weights.model["name"]
    scores: Scores = {}
    shown: list[dict[str, Any]] = []
    sampled = evaluation.spread(len(indices), settings.eval.num_samples)
    for i, result in enumerate(tqdm(results, total=len(indices), unit="image", disable=None)):
        fused = _finish(output, result, name, scores, with_baselines, forests)
        if i in sampled:
            shown.append({**result, "methods": fused})
    about = {"checkpoint": str(checkpoint), **_circumstances(weights, settings, split)}
    data = json.loads(settings.data.to_json_best_effort())
    _write_scores(output, scores[name], {**about, "baselines": with_baselines, "data": data}, len(found.problems))
    _write_report(output, scores, shown, about, model, forests is not None, published)
    _print_means(output, scores)
    if found.problems:
        print(f"{len(found.problems)} files are left out:\n{format_problems(found.problems)}", file=sys.stderr)
    return 1 if found.problems else 0


def _check_output(output: Path, folders: Iterable[str]) -> None:
    """Refuses folders of the data: results have the names of its images."""
    written = {path.resolve() for path in (output, *(output / kind for kind in (*_KINDS, *_SOURCES)))}
    if written.intersection(Path(folder).resolve() for folder in folders):
        raise UserError(f"{output}: holds the data: choose another --output")


def _clear(output: Path) -> None:
    """Removes what an earlier evaluation lists and wrote, of which nothing may stay among the new results."""
    table, summary = output / "metrics.csv", output / "metrics.json"
    if not (table.exists() or summary.exists()):
        return
    try:
        lines = table.read_text(errors="replace").splitlines() if table.exists() else []
        stems = [Path(line["image"]).name for line in csv.DictReader(lines)]
        about = json.loads(summary.read_text()) if summary.exists() else {"num_images": len(stems)}
        kinds = (*_KINDS, *(_SOURCES if about["num_images"] and about.get("baselines") else ()))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{output}: its metrics.* are not of an evaluation: choose another --output") from None
    for path in (*(output / kind / f"{stem}.png" for stem in stems for kind in kinds), output / "samples.png"):
        path.unlink(missing_ok=True)
    table.unlink(missing_ok=True)  # last: what is killed before this is done again
    summary.unlink(missing_ok=True)


def _settings(checkpoint: str | Path, config: ConfigDict | None) -> ConfigDict:
    settings = config or load_config(checkpoint)
    if "data" not in settings:
        raise UserError(f"{checkpoint}: holds weights and no data settings: add --config configs/msrs.py, or your own")
    check_config(settings)
    return settings


def _circumstances(weights: Weights, settings: ConfigDict, split: str) -> dict[str, object]:
    """With what, and on what, images were scored."""
    step = {"step": weights.source["step"]} if "step" in weights.source else {}
    return step | {
        "weights": dict(weights.source),
        "split": split,
        "iassf_jax": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "images": settings.data.root if settings.data.source == "pairs" else "generated scenes",
        "haze": ", ".join(settings.data.haze.kinds) + ", where a pair has no hazy file",
    }


def _finish(
    output: Path,
    result: Mapping[str, Any],
    name: str,
    scores: Scores,
    with_baselines: bool,
    forests: ForestModel | None,
) -> dict[str, np.ndarray]:
    """Writes the images of one result and adds the scores of every method; returns their fused images."""
    for kind in _KINDS:
        images.write_image(output / kind / f"{result['stem']}.png", result[kind])
    made = {name: (result["dehazed"], result["fused"])}
    if with_baselines:
        sources = {kind: images.to_8_bits(result[kind]) for kind in _SOURCES}
        for kind, image in sources.items():
            images.write_image(output / kind / f"{result['stem']}.png", image)
        made |= baselines(sources["hazy"], sources["infrared"])
    for method, pair in made.items():
        scores.setdefault(method, {})[result["stem"]] = _scores(result, *pair, forests)
    return {method: fused for method, (_, fused) in made.items()}


def _scores(
    example: Mapping[str, Any], dehazed: np.ndarray, fused: np.ndarray, forests: ForestModel | None
) -> dict[str, float]:
    """Scores of the dehazed and of the fused image; sources of the fused one are the clear and the infrared image."""
    clear, infrared = (images.to_8_bits(example[kind]) for kind in ("clear", "infrared"))
    scores = evaluation.score({**example, "dehazed": dehazed})
    return scores | fusion_scores(fused, infrared, clear, nrqm_model=forests)


def _write_scores(
    output: Path, scores: Mapping[str, Mapping[str, float]], about: Mapping[str, object], left_out: int
) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, ("image", *next(iter(scores.values()))))
    writer.writeheader()
    for stem, row in scores.items():
        writer.writerow({"image": csv_text(stem), **{name: f"{x:.6g}" for name, x in row.items()}})
    summary = {"num_images": len(scores), "left_out": left_out, "means": means(scores), **about}
    write_bytes(output / "metrics.csv", table.getvalue().encode(errors="backslashreplace"))
    write_bytes(output / "metrics.json", (json.dumps(summary, indent=2) + "\n").encode())


def _write_report(
    output: Path,
    scores: Scores,
    shown: Sequence[Mapping[str, Any]],
    about: Mapping[str, object],
    model: Any,
    has_forests: bool,
    published: Sequence[str],
) -> None:
    columns_shown, absent = fusion_columns(has_forests, bool(published))
    methods = []
    for i, (name, of_images) in enumerate(scores.items()):
        columns = {
            stem: {evaluation.COLUMNS.get(key, key): x for key, x in row.items()} for stem, row in of_images.items()
        }
        size = sum(cost.parameters(model).values()) if i == 0 else None
        gmac = sum(cost.multiply_adds(model).values()) / 1e9 if i == 0 else None
        methods.append(Method(name, columns, size, gmac))
    grids = []
    if shown:
        images.write_image(output / "samples.png", sample_grid(shown))
        columns = (*_SOURCES, *shown[0]["methods"])
        rows = [[*(images.to_8_bits(x[kind]) for kind in _SOURCES), *x["methods"].values()] for x in shown]
        grids.append(Grid(columns, rows, [x["stem"] for x in shown]))
    write_report(
        output,
        "Evaluation",
        methods,
        (*DEHAZING_METRICS, *columns_shown),
        about={name: str(value) for name, value in about.items()},
        absent=absent,
        published=published,
        grids=grids,
    )


def _print_means(output: Path, scores: Scores) -> None:
    own = next(iter(scores.values()))
    first = means(own)
    print(f"{len(own)} images in {output}\n{'':8}{'hazy':>10}{'dehazed':>10}")
    for name in evaluation.SCORES:
        print(f"{name:8}{first.get(f'{name}_hazy', math.nan):>10.4f}{first.get(name, math.nan):>10.4f}")
    if clear := sum(of_image["psnr_hazy"] == math.inf for of_image in own.values()):
        print(f"{clear} images have no haze: they count in the dehazed PSNR alone")
    print(f"\n{read_means(output)}")
