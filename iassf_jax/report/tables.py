"""From scores to tables: means, the marks of the best and the second, and what has to be said below."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from iassf_jax.report.inputs import Method, Metric
from iassf_jax.report.published import PublishedTable, source

ARROWS = {"higher": "\u2191", "lower": "\u2193"}
NO_VALUE = "\u2013"
DAGGER = "\u2020"
_PUBLISHED_NOTE = DAGGER + (
    " Published ({source}): measured by its authors on another data split. Shown for orientation; "
    "not comparable with the measured rows, and never marked."
)


@dataclass(frozen=True)
class Cell:
    """A value as shown: its text, "best", "second" or "", and what is said of it, as "n of N" of undefined values."""

    text: str
    mark: str = ""
    count: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Published rows below the measured ones."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A table, ready to be set: HTML, LaTeX and Markdown show the same content."""

    title: str
    row_header: str
    columns: tuple[Metric, ...]
    rows: tuple[Row, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def images_of(methods: Sequence[Method]) -> list[str]:
    """Stems of all images that at least one method has scores for, in order of appearance."""
    return list(dict.fromkeys(stem for method in methods for stem in method.scores))


def number(value: object) -> float:
    """A score as a float: NaN where there is None."""
    return math.nan if value is None else float(value)  # type: ignore[arg-type]


def finite_values(method: Method, metric: str) -> np.ndarray:
    """A method's defined values of a metric, float64[n], in the order of its images."""
    values = np.array([number(scores.get(metric)) for scores in method.scores.values()], np.float64)
    return values[np.isfinite(values)]


def statistics(method: Method, metric: str) -> dict[str, float | int] | None:
    """Mean, (population) standard deviation, quartiles and range of the defined values, and their number `n`.

    Args:
        method: its scores.
        metric: name of the metric.

    Returns:
        The numbers by name, or None where no value is defined.
    """
    values = finite_values(method, metric)
    if not values.size:
        return None
    low, first, median, third, high = np.percentile(values, (0, 25, 50, 75, 100)).tolist()
    summary = {"n": values.size, "mean": float(values.mean()), "std": float(values.std())}
    return summary | {"min": low, "quartile1": first, "median": median, "quartile3": third, "max": high}


def build_table(
    title: str,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    *,
    row_header: str = "Method",
    absent: Mapping[str, str] | None = None,
    published: Sequence[PublishedTable] = (),
    marked: bool = True,
) -> Table:
    """Makes a table of means: comparisons (Tables I-VI), ablations and sweeps (Tables VII-IX).

    Args:
        title: of the table.
        methods: the measured rows.
        metrics: the columns.
        row_header: heading of the column of names.
        absent: metric name -> why it has no values.
        published: tables of the paper whose rows go below, without marks.
        marked: mark the best.

    Returns:
        The table. Best and second are marked among the measured rows by the digits shown, so that numbers that
        look the same are marked the same; a column without two different numbers has no marks.
    """
    total = len(images_of(methods))
    columns = [_column(methods, metric, total, marked) for metric in metrics]
    rows = tuple(Row(method.name, tuple(column[i] for column in columns)) for i, method in enumerate(methods))
    names = {metric.name for metric in metrics}
    shown = [table for table in published if any(names & row.keys() for row in table.rows.values())]
    groups = tuple(_group(table, methods, metrics) for table in shown)
    notes = _notes(rows, methods, metrics, absent or {}, total)
    notes += tuple(
        f"Table {table.name} of the paper has none of these metrics." for table in published if table not in shown
    )
    if shown:
        notes += (_PUBLISHED_NOTE.format(source=source()),)
    return Table(title, row_header, tuple(metrics), rows, groups, notes)


def _column(methods: Sequence[Method], metric: Metric, total: int, marked: bool) -> list[Cell]:
    digits = _digits(methods, metric.name)
    cells = []
    for method in methods:
        values = finite_values(method, metric.name)
        count = f"{values.size} of {total}" if 0 < values.size < total else ""
        cells.append(Cell(_text(values.mean(), digits) if values.size else NO_VALUE, count=count))
    # A mean over some of the images competes only where no method has all of them.
    whole = [cell for cell in cells if cell.text != NO_VALUE and not cell.count]
    competing = whole or [cell for cell in cells if cell.text != NO_VALUE]
    ranks = sorted({float(cell.text) for cell in competing}, reverse=metric.better == "higher")
    if len(ranks) < 2 or not marked:
        return cells
    marks = {ranks[0]: "best", ranks[1]: "second"}
    return [Cell(c.text, marks.get(float(c.text), ""), c.count) if c in competing else c for c in cells]


def _digits(methods: Sequence[Method], metric: str) -> int:
    """Three decimals as in the paper, more where all means are small: then three that count."""
    means = [abs(values.mean()) for method in methods if (values := finite_values(method, metric)).size]
    largest = max(means, default=0)
    return 3 if largest == 0 else min(max(3, 2 - math.floor(math.log10(largest))), 12)


def _text(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _group(table: PublishedTable, methods: Sequence[Method], metrics: Sequence[Metric]) -> Group:
    digits = [_digits(methods, metric.name) for metric in metrics]
    rows = []
    for name, values in table.rows.items():
        texts = (
            _text(values[metric.name], count) if metric.name in values else NO_VALUE
            for metric, count in zip(metrics, digits, strict=True)
        )
        rows.append(Row(f"{name} {DAGGER}", tuple(Cell(text) for text in texts)))
    return Group(table.heading, tuple(rows))


def _notes(
    rows: Sequence[Row],
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    absent: Mapping[str, str],
    total: int,
) -> tuple[str, ...]:
    cells = [cell for row in rows for cell in row.cells]
    over = "Values of one image." if total == 1 else f"Means over {total} images."
    if any(cell.mark for cell in cells):
        over += " Best in bold, second underlined, by the digits shown."
    notes = [f"{over} {ARROWS['higher']} higher is better, {ARROWS['lower']} lower is better."]
    if any(cell.count for cell in cells):
        notes.append(
            "\u201cn of N\u201d: a mean over the n images that have a value; "
            "it compares with means over other images only roughly, and is not marked beside whole ones."
        )
    empty = [
        metric.name for metric in metrics if not any(finite_values(method, metric.name).size for method in methods)
    ]
    for name in dict.fromkeys([*empty, *(name for name in absent if name not in {m.name for m in metrics})]):
        notes.append(f"{name} was not computed: {absent.get(name, 'no defined value was given')}")
    return tuple(notes)
