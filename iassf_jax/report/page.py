"""report.html: one file that loads nothing from outside."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from iassf_jax.report.effect_plots import intervals, small_multiples
from iassf_jax.report.effects import Effect
from iassf_jax.report.formats import plain, split_name
from iassf_jax.report.grids import grid_rows
from iassf_jax.report.inputs import Grid, Method, Metric, Seeds
from iassf_jax.report.plots import bubbles, has_counts, short, violins
from iassf_jax.report.tables import ARROWS, Table, finite_values

BUBBLE_METRIC = "Q_AB/F"  # the y axis of Fig. 11, where it has values


@dataclass(frozen=True)
class Plot:
    """A plot of one metric, as a data URI."""

    metric: Metric
    image: str


@dataclass(frozen=True)
class Complexity:
    """The bubbles, the counts that they show, and the names of methods that they lack."""

    plot: Plot
    rows: tuple[tuple[str, str, str], ...]  # method, parameters, GMAC
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """What several seeds tell.

    Attributes:
        base: the row that others are compared with.
        plots: differences with intervals, a plot a metric.
        curves: of training, an image; "" without any.
    """

    base: str
    plots: tuple[Plot, ...]
    curves: str


def compared(seeds: Seeds, found: Sequence[Effect], metrics: Sequence[Metric]) -> Comparison:
    """Draws what `effects` found."""
    of = {m.name: [effect for effect in found if effect.metric == m.name] for m in metrics}
    plots = tuple(Plot(m, _data_uri(intervals(of[m.name]))) for m in metrics if of[m.name])
    if not any(steps for runs in seeds.curves.values() for steps, _ in runs):
        return Comparison(seeds.base, plots, "")
    curves = small_multiples(seeds.curves, seeds.base, "validation PSNR in dB")
    return Comparison(seeds.base, plots, _data_uri(curves))


def render_page(
    title: str,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    tables: Sequence[Table],
    *,
    about: Mapping[str, object],
    grids: Sequence[Grid],
    images: int,
    comparison: Comparison | None,
    files: Sequence[str],
) -> str:
    """Sets the page.

    Args:
        title: of the report.
        methods: those of the first table: violins and bubbles are theirs.
        metrics: the columns.
        tables: every table, the main one first.
        about: conditions of the run.
        grids: image grids.
        images: number of images in the main table.
        comparison: of several seeds, or None.
        files: names of the files beside the page.

    Returns:
        HTML.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["split_name"] = split_name
    template = resources.files(__package__).joinpath("template.html").read_text(encoding="utf-8")
    return (
        environment.from_string(template).render(
            title=title,
            facts=[_counted(len(methods), "method"), _counted(len(metrics), "metric"), _counted(images, "image")],
            tables=tables,
            arrows=ARROWS,
            comparison=comparison,
            violins=_violins(methods, metrics),
            complexity=_complexity(methods, metrics),
            grids=[(grid.columns, grid_rows(grid)) for grid in grids],
            about={str(name): _words(value) for name, value in about.items()},
            files=files,
        )
        + "\n"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _words(value: object) -> str:
    value = plain(value)
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else json.dumps(value)


def _data_uri(svg: str) -> str:
    """An image apart from the page: matplotlib's element names and styles stay its own."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _violins(methods: Sequence[Method], metrics: Sequence[Metric]) -> list[Plot]:
    plots = ((metric, violins(methods, metric)) for metric in metrics)
    return [Plot(metric, _data_uri(svg)) for metric, svg in plots if svg is not None]


def _complexity(methods: Sequence[Method], metrics: Sequence[Metric]) -> Complexity | None:
    counted = [method for method in methods if has_counts(method)]
    usable = [metric for metric in metrics if any(finite_values(method, metric.name).size for method in counted)]
    if not usable:
        return None
    metric = next((metric for metric in usable if metric.name == BUBBLE_METRIC), usable[0])
    svg = bubbles(methods, metric)
    rows = tuple((method.name, short(method.parameters), f"{method.gmac:.4g}") for method in counted)
    drawn = {method.name for method in counted if finite_values(method, metric.name).size}
    missing = tuple(method.name for method in methods if method.name not in drawn)
    return Complexity(Plot(metric, _data_uri(svg)), rows, missing)
