"""The report of an experiment: its rows, each from one seed or several."""

from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from iassf_jax import __version__
from iassf_jax.data import images, pipeline
from iassf_jax.evaluate import cost
from iassf_jax.evaluate import scores as evaluation
from iassf_jax.evaluate.variants import Variant
from iassf_jax.metrics import DEHAZING_METRICS, fusion_columns
from iassf_jax.models import build_model
from iassf_jax.report import Grid, Method, Seeds, read_scores, write_report
from iassf_jax.report.tables import finite_values
from iassf_jax.train.log import read_numbers

_NUM_ROWS = 3


def write_experiment(
    config: ConfigDict, runs: list[Variant], workdir: Path, output: Path, split: str, scale: str
) -> None:
    """Writes one report of runs that were evaluated.

    Args:
        config: with the `experiment` section.
        runs: every row once a seed, the rows of a seed together.
        workdir: of the runs.
        output: of the report, and of each run's scores and images.
        split: what was scored.
        scale: how long the runs were.
    """
    rows: dict[str, list[Method]] = {}
    curves: dict[str, list[tuple[list[float], list[float]]]] = {}
    baselines: list[Method] = []
    for run in runs:
        own, *others = read_scores(output / run.slug)
        rows.setdefault(run.name, []).append(own)
        curves.setdefault(run.name, []).append(_curve(workdir / run.slug))
        baselines += others
    folders = [output / run.slug / "fused" for run in runs[: len(rows)]]
    stems = [stem for stem in rows[runs[0].name][0].scores if all((at / f"{stem}.png").is_file() for at in folders)]
    methods = [_row(run, rows[run.name]) for run in runs[: len(rows)]]
    asked = config.experiment.get("compared_with", "")
    compared = asked if asked in rows else next(iter(rows))  # the row that was asked for may have been left out
    seeds = Seeds(rows, compared, curves) if len(methods) < len(runs) else None
    published, data = tuple(config.experiment.published), config.data
    columns, absent = fusion_columns(False, bool(published))
    about = {
        "training": scale,
        "the paper's": "54,000 steps of 6 crops of 256, 1,083 pairs",
        "data": data.root if data.source == "pairs" else "generated scenes",
        "haze": ", ".join(data.haze.kinds),
        "scored": f"{len(methods[0].scores)} images of {split}",
        "seeds": _seeds(rows, config.seed, compared),
        "device": jax.devices()[0].device_kind,
        "versions": f"iassf_jax {__version__}, jax {jax.__version__}",
    }
    write_report(
        output,
        f"{config.experiment.title}: {scale}",
        methods + baselines,
        (*DEHAZING_METRICS, *columns),
        about=about,
        absent=absent,
        published=published,
        grids=[_grid(runs[: len(rows)], output, split, stems)] if stems else [],
        seeds=seeds,
    )


def _row(run: Variant, of_seeds: list[Method]) -> Method:
    """The row of a table: scores are means over the seeds, where all have one."""
    scores = {
        stem: {name: float(np.mean([one.scores[stem].get(name, np.nan) for one in of_seeds])) for name in values}
        for stem, values in of_seeds[0].scores.items()
        if all(stem in one.scores for one in of_seeds)
    }
    model = build_model(run.config.model)
    size, gmac = sum(cost.parameters(model).values()), sum(cost.multiply_adds(model).values()) / 1e9
    return Method(run.name, scores, size, gmac)


def _curve(folder: Path) -> tuple[list[float], list[float]]:
    """Steps, and the validation PSNR in dB at each."""
    lines = [line for line in read_numbers(folder) if "val/psnr" in line]
    return [line["step"] for line in lines], [line["val/psnr"] for line in lines]


def _seeds(rows: dict[str, list[Method]], first: int, compared: str) -> str:
    """Which, and how far those of one row lie apart."""
    count = len(next(iter(rows.values())))
    if count < 2:
        return f"{first}, one run each; --config.experiment.seeds=3 shows how far seeds differ"
    words = f"{first} to {first + count - 1}, of which means are shown"
    of_seeds = [finite_values(run, DEHAZING_METRICS[0].name).mean() for run in rows[compared]]
    return f"{words}; the PSNR of {compared} differs by {np.ptp(of_seeds):.2f} dB between them"


def _grid(runs: list[Variant], output: Path, split: str, scored: list[str]) -> Grid:
    """Fused images of all variants beside each other, for some of the stems that were scored."""
    config = runs[0].config
    source, _ = pipeline.make_source({**config.data.to_dict(), "verify": False}, split)
    stems = [scored[i] for i in evaluation.spread(len(scored), _NUM_ROWS)]
    rows = []
    for stem in stems:
        example = pipeline.whole_example(source, source.stems.index(stem), config.data.haze, config.eval.seed)
        row: list[np.ndarray] = [images.to_8_bits(example[kind]) for kind in ("hazy", "infrared", "clear")]
        row += [images.read_image(output / run.slug / "fused" / f"{stem}.png") for run in runs]
        rows.append(row)
    return Grid(("hazy", "infrared", "clear", *(run.name for run in runs)), rows, stems)
