"""Evaluation of a training run on a data split: images, and scores as CSV and JSON."""

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from iassf_jax import __version__, evaluation
from iassf_jax.checkpoints import load_config
from iassf_jax.config_checks import check_config
from iassf_jax.convert.formats import read_weights
from iassf_jax.data import images, pipeline
from iassf_jax.data.layouts import format_problems
from iassf_jax.errors import UserError
from iassf_jax.inference import Predictor
from iassf_jax.models import build_model
from iassf_jax.visualize import sample_grid

SCORE_NAMES = tuple(name + suffix for suffix in ("", "_hazy") for name in evaluation.SCORES)


def evaluate_run(
    checkpoint: str | Path, output: str | Path, config: ConfigDict | None = None, split: str = "test", limit: int = 0
) -> int:
    """Dehazes and fuses the images of a split at full size.

    Writes `dehazed/STEM.png` and `fused/STEM.png`, `samples.png`, `metrics.csv` (an image a line) and `metrics.json`
    (means and what was evaluated).

    Args:
        checkpoint: folder of a training run, or weights in any form that `read_weights` takes.
        output: folder for the results.
        config: whose `data` and `eval` sections are used; default: the run's own.
        split: "train", "val", "test" or "all".
        limit: so many images, spread evenly; 0 for all.

    Returns:
        Exit code: 1 where files had to be left out (they are listed on stderr), else 0.

    Raises:
        UserError: no usable checkpoint or data, or nothing can be written.
    """
    settings = config or load_config(checkpoint)
    if "data" not in settings:
        raise UserError(f"{checkpoint}: holds weights and no data settings: add --config configs/msrs.py, or your own")
    check_config(settings)
    weights = read_weights([checkpoint])
    source, found = pipeline.make_source(settings.data, split)
    predictor = Predictor(build_model(weights.model), weights.params, settings.eval.pad_multiple)

    count = min(limit or len(source), len(source))
    indices = np.linspace(0, len(source) - 1, count).round().astype(int)
    examples = (pipeline.whole_example(source, int(i), settings.data.haze, settings.eval.seed) for i in indices)
    results = evaluation.predict(predictor, examples, settings.eval.batch_size)
    output, rows, shown = Path(output), [], []
    for result in tqdm(results, total=count, unit="image", disable=None):
        for name in ("dehazed", "fused"):
            images.write_image(output / name / f"{result['stem']}.png", result[name])
        rows.append({"image": result["stem"], **evaluation.score(result)})
        if len(shown) < settings.eval.num_samples:
            shown.append(result)
    if shown:
        images.write_image(output / "samples.png", sample_grid(shown))
    about = {
        "checkpoint": str(checkpoint),
        "step": weights.source.get("step"),
        "weights": dict(weights.source),
        "split": split,
        "iassf_jax": __version__,
        "jax": jax.__version__,
    }
    about |= {
        "device": jax.devices()[0].device_kind,
        "data": json.loads(ConfigDict(settings.data).to_json_best_effort()),
    }
    _write_scores(output, rows, about, len(found.problems))
    if found.problems:
        print(f"{len(found.problems)} files are left out:\n{format_problems(found.problems)}", file=sys.stderr)
    return 1 if found.problems else 0


def _write_scores(
    output: Path, rows: Sequence[Mapping[str, float | str]], about: Mapping[str, object], left_out: int
) -> None:
    means = {name: float(np.mean([row[name] for row in rows])) for name in SCORE_NAMES}
    table = io.StringIO()
    writer = csv.DictWriter(table, ("image", *SCORE_NAMES), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: x if isinstance(x, str) else f"{x:.6g}" for name, x in row.items()} for row in rows)
    # JSON knows no infinity, the PSNR of equal images.
    finite = {name: value if math.isfinite(value) else None for name, value in means.items()}
    summary = {"num_images": len(rows), "left_out": left_out, "means": finite, **about}
    images.write_bytes(output / "metrics.csv", table.getvalue().encode())
    images.write_bytes(output / "metrics.json", (json.dumps(summary, indent=2) + "\n").encode())
    print(f"{len(rows)} images in {output}\n{'':8}{'hazy':>10}{'dehazed':>10}")
    for name in evaluation.SCORES:
        print(f"{name:8}{means[f'{name}_hazy']:>10.4f}{means[name]:>10.4f}")
