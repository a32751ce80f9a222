"""Experiments: variants of one config, trained one after another and compared in a report."""

import functools
import json
import operator
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from iassf_jax import __version__
from iassf_jax.data import images, pipeline
from iassf_jax.errors import UserError
from iassf_jax.evaluate import cost
from iassf_jax.evaluate import scores as evaluation
from iassf_jax.evaluate.run import evaluate_run
from iassf_jax.files import write_bytes
from iassf_jax.metrics import DEHAZING_METRICS, fusion_columns
from iassf_jax.models import build_model
from iassf_jax.report import Grid, Method, read_means, read_scores, write_report
from iassf_jax.train.config_checks import check_config
from iassf_jax.train.loop import num_steps, train_and_evaluate
from iassf_jax.train.run_config import CONFIG_FILE, load_config

_NUM_ROWS = 3
_DONE = "evaluated.json"
# Settings that change what a run tells or keeps, not what it learns.
_FREE = ("eval.", "checkpoint.", "train.log_every", "data.num_workers", "data.verify")


@dataclass(frozen=True)
class Variant:
    """One run: its name in the report, its folder's name, and its config without the `experiment` section."""

    name: str
    slug: str
    config: ConfigDict


def variants(config: ConfigDict) -> list[Variant]:
    """The runs of an experiment.

    Folders are named by what differs from the base, so that experiments on one base share the runs that they share.

    Raises:
        UserError: no `experiment` section, or a setting that the config does not have.
    """
    if "experiment" not in config or not config.experiment.get("variants"):
        raise UserError("the config has no experiment: use one of configs/experiments/")
    base = ConfigDict({name: section for name, section in config.items() if name != "experiment"})
    return [_variant(base, name, dict(changes)) for name, changes in config.experiment.variants]


def _variant(base: ConfigDict, name: str, changes: dict[str, Any]) -> Variant:
    settings, before = base.to_dict(), dict(_flat(base.to_dict()))
    network = changes.get("model", {}).get("name", settings["model"]["name"])
    if network != settings["model"]["name"]:  # another network has other fields
        settings["model"] = changes.pop("model")
    for field, value in _flat(changes):
        if field not in before:
            raise UserError(f"the variant '{name}' sets {field}, which the config does not have")
        *sections, last = field.split(".")
        functools.reduce(operator.getitem, sections, settings)[last] = value
    same_network = network == base.model.name
    differing = [] if same_network else [network]
    for field, value in _flat(settings):
        if (same_network or not field.startswith("model.")) and value != before[field]:
            differing.append(f"{field}={value}")
    return Variant(name, ",".join(differing).replace("/", "_").replace(" ", "") or "base", ConfigDict(settings))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


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

    Returns:
        Exit code: 1 where files had to be left out, else 0; also 0 where the training was asked to stop.

    Raises:
        UserError: bad settings or data, or a run with other settings in a folder that this one needs.
    """
    runs = variants(config)
    for run in runs:
        check_config(run.config)
        build_model(run.config.model)
        _check_same_run(Path(workdir) / run.slug, run.config)
    count_pairs = functools.cache(lambda data: len(pipeline.make_source(json.loads(data), "train")[0]))
    lengths = [num_steps(run.config.train, count_pairs(run.config.data.to_json())) for run in runs]
    workdir, output, code = Path(workdir), Path(output), 0
    for number, (run, length) in enumerate(zip(runs, lengths, strict=True), 1):
        print(f"{number} of {len(runs)}: {run.name}", file=sys.stderr, flush=True)
        with_baselines = bool(config.experiment.baselines) and number == 1
        state = train_and_evaluate(run.config, workdir / run.slug)
        if int(state.step) < length:  # asked to stop
            return 0
        code = max(code, _evaluate(run, workdir / run.slug, output / run.slug, split, limit, with_baselines))
        jax.clear_caches()  # the next variant is another program
    scale = _scale(config, lengths, count_pairs(config.data.to_json()))
    _write_report(config, runs, output, split, scale)
    print(f"\n{len(runs)} variants compared in {output / 'report.html'}\n\n{read_means(output)}")
    return code


def _check_same_run(folder: Path, config: ConfigDict) -> None:
    """Refuses a folder that holds a run with other settings: its numbers would stand under a wrong name."""
    if not (folder / CONFIG_FILE).exists():
        return
    # As JSON has them: tuples are lists there.
    before, now = (dict(_flat(json.loads(json.dumps(x.to_dict())))) for x in (load_config(folder), config))
    changed = [
        name for name in sorted(before | now) if before.get(name) != now.get(name) and not name.startswith(_FREE)
    ]
    if changed:
        words = "; ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in changed[:3])
        raise UserError(f"{folder}: holds a run with other settings ({words}): choose another --workdir")


def _evaluate(run: Variant, folder: Path, output: Path, split: str, limit: int, with_baselines: bool) -> int:
    newest = max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    done = {"run": str(folder.resolve()), "step": newest, "split": split, "limit": limit, "baselines": with_baselines}
    done |= {"saved": (folder / "checkpoints" / str(newest)).stat().st_mtime_ns}
    done |= {"version": __version__, "config": run.config.to_dict()}
    marker, text = output / _DONE, json.dumps(done, indent=1) + "\n"
    if marker.is_file() and marker.read_text(errors="replace") == text:
        return 1 if json.loads((output / "metrics.json").read_text())["left_out"] else 0
    code = evaluate_run(folder, output, None, split, limit, with_baselines=with_baselines)
    write_bytes(marker, text.encode())
    return code


def _write_report(config: ConfigDict, runs: list[Variant], output: Path, split: str, scale: str) -> None:
    methods: list[Method] = []
    baselines: list[Method] = []
    for run in runs:
        model = build_model(run.config.model)
        own, *others = read_scores(output / run.slug)
        size, gmac = sum(cost.parameters(model).values()), sum(cost.multiply_adds(model).values()) / 1e9
        methods.append(Method(run.name, own.scores, size, gmac))
        baselines += others
    published, data = tuple(config.experiment.published), config.data
    columns, absent = fusion_columns(False, bool(published))
    about = {
        "training of each variant": scale,
        "the paper's": "54,000 steps of 6 crops of 256, 1,083 pairs",
        "data": data.root if data.source == "pairs" else "generated scenes",
        "haze": ", ".join(data.haze.kinds),
        "scored": f"{len(methods[0].scores)} images of {split}",
        "seed": f"{config.seed}, one run each; configs/experiments/seeds.py shows how far seeds differ",
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
        grids=[_grid(runs, output, split, list(methods[0].scores))],
    )


def _scale(config: ConfigDict, lengths: list[int], pairs: int) -> str:
    """How long the runs are, which is seldom the paper's length."""
    steps = " or ".join(map(str, sorted(set(lengths))))
    return f"{steps} steps of {config.train.batch_size} crops of {config.data.crop}, {pairs} pairs"


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
