"""Experiments: variants of one config, trained one after another and compared in a report."""

import functools
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from iassf_jax import __version__
from iassf_jax.data import pipeline
from iassf_jax.errors import UserError
from iassf_jax.evaluate.experiment_report import write_experiment
from iassf_jax.evaluate.run import evaluate_run
from iassf_jax.evaluate.variants import Variant, variants
from iassf_jax.files import write_bytes
from iassf_jax.models import build_model
from iassf_jax.report import read_means
from iassf_jax.train.checkpoints import newest_checkpoint
from iassf_jax.train.config_checks import check_config
from iassf_jax.train.log import read_numbers
from iassf_jax.train.loop import Diverged, num_steps, train_and_evaluate
from iassf_jax.train.run_config import check_same_run

_DONE = "evaluated.json"
# Settings that change what a run tells or keeps, not what it learns.
_FREE = ("eval.", "checkpoint.", "train.log_every", "data.verify")


def run_experiment(
    config: ConfigDict, workdir: str | Path, output: str | Path, split: str = "val", limit: int = 0
) -> int:
    """Trains every variant, evaluates it, and writes one report of all.

    What is trained or evaluated already is not done again; SIGTERM and Ctrl-C save, and the same call goes on. A row
    whose loss is not finite in one seed is left out.

    Args:
        config: a base config with an `experiment` section, see `configs/experiments/`. All rows are scored on the data
            and haze of the base, whatever they learned from.
        workdir: the runs are folders in it, named by what differs from the base.
        output: `report.html` and its tables; images and scores of each run in folders of their own.
        split: "train", "val", "test" or "all": the images to score.
        limit: so many images, spread evenly; 0 for all.

    The report is written when every row has one seed more.

    Returns:
        Exit code: 1 where files or rows had to be left out, else 0.

    Raises:
        UserError: bad settings or data, or a run with other settings in a folder that this one needs.
        Stopped: SIGTERM or Ctrl-C while it trained.
    """
    runs = variants(config)
    if (compared := config.experiment.get("compared_with", "")) and compared not in {run.name for run in runs}:
        raise UserError(f"experiment.compared_with is '{compared}': give one of the variants, or ''")
    for run in runs:
        check_config(run.config)
        build_model(run.config.model)
        check_same_run(Path(workdir) / run.slug, run.config, _FREE)
    on = _scored_on(config, split, limit)
    count = functools.cache(lambda section: len(pipeline.make_source(json.loads(section), "train")[0]))
    pairs = [count(run.config.data.to_json()) for run in runs]
    lengths = [num_steps(run.config.train, number) for run, number in zip(runs, pairs, strict=True)]
    workdir, output, code = Path(workdir), Path(output), 0
    scale = _scale(runs, lengths, set(pairs))
    rows, is_news, failed = len(config.experiment.variants), False, set()
    with_baselines = bool(config.experiment.baselines)
    for number, run in enumerate(runs, 1):
        left = _left(workdir, runs, lengths)
        print(f"{number} of {len(runs)}: {run.name}, seed {run.config.seed}{left}", file=sys.stderr, flush=True)
        scored = {**on, "baselines": with_baselines, "pairs": pairs[number - 1]}
        try:
            is_news |= _train_and_score(run, workdir / run.slug, output / run.slug, config, scored)
            with_baselines = False  # they do not depend on the run
            code = max(code, 1 if json.loads((output / run.slug / "metrics.json").read_text())["left_out"] else 0)
        except Diverged as error:
            print(f"the report goes without {run.name}: {error}", file=sys.stderr, flush=True)
            failed.add(run.name)
            code = 1
        told = [run for run in runs[:number] if run.name not in failed]
        if told and (number == len(runs) or (number % rows == 0 and is_news)):
            write_experiment(config, told, workdir, output, split, scale)
    if len(failed) == rows:
        raise UserError("no variant could be trained: see above")
    print(f"\n{rows - len(failed)} variants compared in {output / 'report.html'}\n\n{read_means(output)}")
    return code


def _scored_on(config: ConfigDict, split: str, limit: int) -> dict[str, Any]:
    """What says which images are scored: the settings of the base, and a digest of their names."""
    scored = "\n".join(pipeline.make_source({**config.data.to_dict(), "verify": False}, split)[0].stems)
    digest = hashlib.sha256(scored.encode(errors="surrogateescape")).hexdigest()[:16]
    sections = {"data": config.data.to_dict(), "eval": config.eval.to_dict()}
    return {"split": split, "limit": limit, "images": digest, "base": sections}


def _train_and_score(run: Variant, folder: Path, results: Path, base: ConfigDict, scored: dict[str, Any]) -> bool:
    """Does what is not done yet of one run; whether that was anything."""
    if _is_evaluated(run, folder, results, scored):
        return False
    train_and_evaluate(run.config, folder)
    (results / _DONE).unlink(missing_ok=True)
    evaluate_run(folder, results, base, scored["split"], scored["limit"], with_baselines=scored["baselines"])
    write_bytes(results / _DONE, _done(run, folder, scored).encode())
    jax.clear_caches()  # the next variant is another program
    return True


def _left(workdir: Path, runs: list[Variant], lengths: list[int]) -> str:
    """How long the training that is left will take, by what was measured so far: of the row itself, else of all."""
    rates: dict[str, list[float]] = {run.name: [] for run in runs}
    images: list[int] = []
    for run, length in zip(runs, lengths, strict=True):
        folder = workdir / run.slug
        images.append((length - (newest_checkpoint(folder) or 0)) * run.config.train.batch_size)
        measured = (line.get("train/images_per_second") for line in read_numbers(folder))
        rates[run.name] += [rate for rate in measured if rate]
    every = [rate for of_row in rates.values() for rate in of_row]
    if not every:
        return ""
    seconds = sum(count / np.median(rates[run.name] or every) for run, count in zip(runs, images, strict=True))
    return f"; {seconds / 3600:.1f} hours of training left"


def _done(run: Variant, folder: Path, scored: dict[str, object]) -> str:
    """What an evaluation is of: the run's newest checkpoint, its config, and what was scored."""
    newest = newest_checkpoint(folder)
    saved = (folder / "checkpoints" / str(newest)).stat().st_mtime_ns
    done = {"step": newest, **scored, "saved": saved}
    return json.dumps(done | {"version": __version__, "config": run.config.to_dict()}, indent=1) + "\n"


def _is_evaluated(run: Variant, folder: Path, results: Path, scored: dict[str, object]) -> bool:
    """Whether the results are of the run as it is now."""
    marker = results / _DONE
    return (
        newest_checkpoint(folder) is not None
        and marker.is_file()
        and marker.read_text(errors="replace") == _done(run, folder, scored)
    )


def _scale(runs: list[Variant], lengths: list[int], pairs: set[int]) -> str:
    """How long the runs are, which is seldom the paper's length."""
    settings = [run.config for run in runs]
    sizes = [pipeline.whole_sizes(one.data.whole_size) for one in settings]
    shapes = [f"{width}x{height}" for height, width in sorted({size for of_run in sizes for size in of_run})]
    crops = sorted({one.data.crop for one, of_run in zip(settings, sizes, strict=True) if not of_run})
    what = [f"whole images of {_either(shapes)}"] if shapes else []
    what += [f"crops of {_either(crops)}"] if crops else []
    batches = _either(sorted({one.train.batch_size for one in settings}))
    return f"{_either(sorted(set(lengths)))} steps of {batches} {_either(what)}, {_either(sorted(pairs))} pairs"


def _either(values: Iterable[object]) -> str:
    return " or ".join(map(str, values))
