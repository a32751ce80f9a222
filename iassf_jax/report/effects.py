"""How far rows differ from one of them, when each was trained from several seeds: intervals, and what they tell."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from iassf_jax.errors import UserError
from iassf_jax.metrics import Metric
from iassf_jax.report.formats import csv_text
from iassf_jax.report.inputs import Method
from iassf_jax.report.tables import Cell, Row, Table, images_of, number

CONFIDENCE = 0.95
_RESAMPLES = 4999


@dataclass(frozen=True)
class Effect:
    """How a row differs from the base in one metric.

    Attributes:
        row: its name.
        metric: the metric's name.
        mean: over seeds and images.
        spread: standard deviation of the seeds' means.
        difference: the row's mean minus the base's.
        low, high: the interval of the difference, of `CONFIDENCE`.
        verdict: "better", "worse" or "within the noise"; "base" of the base itself.
    """

    row: str
    metric: str
    mean: float
    spread: float
    difference: float
    low: float
    high: float
    verdict: str


def effects(rows: Mapping[str, Sequence[Method]], base: str, metrics: Sequence[Metric]) -> list[Effect]:
    """Compares every row with the base.

    The interval is of a bootstrap over images, which all runs share, and over the seeds of either row (percentiles). A
    row is better or worse where that interval leaves out 0 and Welch's t-test of the seeds' means agrees: of three
    seeds the bootstrap alone sees too little.

    Args:
        rows: name -> a run a seed, two or more.
        base: the row that the others are compared with.
        metrics: what is compared.

    Returns:
        An effect a row and metric, where both have values.

    Raises:
        UserError: no such base, or a row of fewer than two seeds.
    """
    if base not in rows:
        raise UserError(f"no row is named '{base}': compare with one of {', '.join(rows)}")
    for name, runs in rows.items():
        if len(runs) < 2:
            raise UserError(f"'{name}' has one seed: differences need two or more, better three")
    found = []
    for metric in metrics:
        of_base = _values(rows[base], metric.name)
        for name, runs in rows.items():
            own = _values(runs, metric.name)
            shared = [stem for stem in own if stem in of_base]
            if shared:
                pair = (np.stack([of[stem] for stem in shared], axis=1) for of in (own, of_base))
                found.append(_effect(name, metric, *pair, name == base))
    return found


def _values(runs: Sequence[Method], metric: str) -> dict[str, np.ndarray]:
    """By image, where every seed has a value: float64[seeds]."""
    stems = images_of(runs)
    values = {stem: np.array([number(run.scores.get(stem, {}).get(metric)) for run in runs]) for stem in stems}
    return {stem: value for stem, value in values.items() if np.isfinite(value).all()}


def _effect(row: str, metric: Metric, own: np.ndarray, base: np.ndarray, is_base: bool) -> Effect:
    """Of values float64[seeds, images]."""
    from scipy import stats

    mean, spread = float(own.mean()), float(own.mean(axis=1).std(ddof=1))
    if is_base:
        return Effect(row, metric.name, mean, spread, 0.0, 0.0, 0.0, "base")

    def difference(a: np.ndarray, b: np.ndarray, i: np.ndarray, axis: int = -1) -> np.ndarray:
        a, b, i = a[..., :, None], b[..., :, None], i[..., None, :]
        return own[a, i].mean(axis=(-2, -1)) - base[b, i].mean(axis=(-2, -1))

    samples = [np.arange(count) for count in (own.shape[0], base.shape[0], own.shape[1])]
    low = high = math.nan
    if own.shape[1] > 1:
        interval = stats.bootstrap(
            samples,
            difference,
            n_resamples=_RESAMPLES,
            batch=500,
            vectorized=True,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    found = mean - float(base.mean())
    with np.errstate(all="ignore"):
        chance = stats.ttest_ind(own.mean(axis=1), base.mean(axis=1), equal_var=False).pvalue
    clear = (low > 0 or high < 0) and chance < 1 - CONFIDENCE
    better = (found > 0) == (metric.better == "higher")
    verdict = ("better" if better else "worse") if clear else "within the noise"
    return Effect(row, metric.name, mean, spread, found, low, high, verdict)


def with_verdicts(table: Table, found: Sequence[Effect], base: str) -> Table:
    """A table whose means have the seeds' spread, and say "better" or "worse" where they differ from the base's."""
    of = {(effect.row, effect.metric): effect for effect in found}
    count = sum(effect.verdict != "base" for effect in found)

    def told(row: Row) -> Row:
        cells = zip(row.cells, table.columns, strict=True)
        return Row(row.name, tuple(_told(cell, of.get((row.name, metric.name))) for cell, metric in cells))

    note = (
        f"\u00b1 standard deviation of the seeds' means. Better or worse than {base}: the {CONFIDENCE:.0%} interval of "
        "the difference (bootstrap over images and seeds) leaves out 0, and Welch's t-test of the seeds' means agrees "
        f"(p < {1 - CONFIDENCE:.2f}). What has \u00b1 and says neither lies within the noise. By chance alone some "
        f"{count * (1 - CONFIDENCE):.0f} of these {count} comparisons would be called better or worse."
    )
    return replace(table, rows=tuple(map(told, table.rows)), notes=(table.notes[0], note, *table.notes[1:]))


def _told(cell: Cell, effect: Effect | None) -> Cell:
    if effect is None:
        return cell
    decimals = len(cell.text.partition(".")[2])
    words = [cell.count, effect.verdict if effect.verdict in ("better", "worse") else ""]
    text = f"{cell.text} \u00b1 {effect.spread:.{decimals}f}"
    return replace(cell, text=text, count=", ".join(word for word in words if word))


def effects_csv(found: Sequence[Effect]) -> str:
    """A line an effect."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Effect))
    for effect in found:
        row, *values = astuple(effect)
        writer.writerow([csv_text(row), *values])
    return text.getvalue()
