"""Experiments: variants of one config, trained one after another and compared in a report."""

import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from iassf_jax import __version__
from iassf_jax.data import pipeline
from iassf_jax.errors import UserError
from iassf_jax.evaluate.experiment_report import write_experiment
from iassf_jax.evaluate.run import evaluate_run
from iassf_jax.evaluate.variants import Variant, flat, variants
from iassf_jax.files import write_bytes
from iassf_jax.models import build_model, full_settings
from iassf_jax.report import read_means
from iassf_jax.train.checkpoints import newest_checkpoint
from iassf_jax.train.config_checks import check_config
from iassf_jax.train.log import read_numbers
from iassf_jax.train.loop import num_steps, train_and_evaluate
from iassf_jax.train.run_config import CONFIG_FILE, load_config

_DONE = "evaluated.json"
# Settings that change what a run tells or keeps, not what it learns.
_FREE = ("eval.", "checkpoint.", "train.log_every", "data.num_workers", "data.verify")


def run_experiment(
    config: ConfigDict, workdir: str | Path, output: str | Path, split: str = "val", limit: int = 0
) -> int:
    """Trains every variant, evaluates it, and writes one report of all.

    What is trained or evaluated already is not done again; SIGTERM and Ctrl-C save, and the same call goes on.

    Args:
        config: a base config with an `experiment` section, see `configs/experiments/`.
        workdir: the runs are folders in it, named by what differs from the base.
        output: `report.html` and its tables; images and scores of each run in folders of their own.
        split: "train", "val", "test" or "all": the images to score.
        limit: so many images, spread evenly; 0 for all.

    The report is written when every row has one seed more.

    Returns:
        Exit code: 1 where files had to be left out, else 0.

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
        _check_same_run(Path(workdir) / run.slug, run.config)
    count_pairs = functools.cache(lambda data: len(pipeline.make_source(json.loads(data), "train")[0]))
    lengths = [num_steps(run.config.train, count_pairs(run.config.data.to_json())) for run in runs]
    workdir, output, code = Path(workdir), Path(output), 0
    scale = _scale(config, lengths, count_pairs(config.data.to_json()))
    rows, is_news = len(config.experiment.variants), False
    for number, run in enumerate(runs, 1):
        left = _left(workdir, runs, lengths)
        print(f"{number} of {len(runs)}: {run.name}, seed {run.config.seed}{left}", file=sys.stderr, flush=True)
        folder, results = workdir / run.slug, output / run.slug
        with_baselines = bool(config.experiment.baselines) and number == 1
        scored = {"split": split, "limit": limit, "baselines": with_baselines}
        if not _is_evaluated(run, folder, results, scored):
            train_and_evaluate(run.config, folder)
            evaluate_run(folder, results, None, split, limit, with_baselines=with_baselines)
            write_bytes(results / _DONE, _done(run, folder, scored).encode())
            is_news = True
            jax.clear_caches()  # the next variant is another program
        code = max(code, 1 if json.loads((results / "metrics.json").read_text())["left_out"] else 0)
        if number == len(runs) or (number % rows == 0 and is_news):
            write_experiment(config, runs[:number], workdir, output, split, scale)
    print(f"\n{rows} variants compared in {output / 'report.html'}\n\n{read_means(output)}")
    return code


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


def _check_same_run(folder: Path, config: ConfigDict) -> None:
    """Refuses a folder that holds a run with other settings: its numbers would stand under a wrong name."""
    if not (folder / CONFIG_FILE).exists():
        return
    # As JSON has them: tuples are lists there.
    both = (x.to_dict() | {"model": full_settings(x.model)} for x in (load_config(folder), config))
    before, now = (dict(flat(json.loads(json.dumps(x)))) for x in both)
    changed = [
        name for name in sorted(before | now) if before.get(name) != now.get(name) and not name.startswith(_FREE)
    ]
    if changed:
        words = "; ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in changed[:3])
        raise UserError(f"{folder}: holds a run with other settings ({words}): choose another --workdir")


def _done(run: Variant, folder: Path, scored: dict[str, object]) -> str:
    """What an evaluation is of: the run's newest checkpoint, its config, and what was scored."""
    newest = newest_checkpoint(folder)
    saved = (folder / "checkpoints" / str(newest)).stat().st_mtime_ns
    done = {"run": str(folder.resolve()), "step": newest, **scored, "saved": saved}
    return json.dumps(done | {"version": __version__, "config": run.config.to_dict()}, indent=1) + "\n"


def _is_evaluated(run: Variant, folder: Path, results: Path, scored: dict[str, object]) -> bool:
    """Whether the results are of the run as it is now."""
    marker = results / _DONE
    return (
        newest_checkpoint(folder) is not None
        and marker.is_file()
        and marker.read_text(errors="replace") == _done(run, folder, scored)
    )


def _scale(config: ConfigDict, lengths: list[int], pairs: int) -> str:
    """How long the runs are, which is seldom the paper's length."""
    steps = " or ".join(map(str, sorted(set(lengths))))
    sizes = pipeline.whole_sizes(config.data.whole_size)
    shapes = [f"{width}x{height}" for height, width in sizes]
    what = f"whole images of {' or '.join(shapes)}" if shapes else f"crops of {config.data.crop}"
    return f"{steps} steps of {config.train.batch_size} {what}, {pairs} pairs"
