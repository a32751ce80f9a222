"""The report of an evaluation: the paper's tables and figures from measured scores.

`write_report` writes one page that opens without a network, and the same tables as CSV, JSON, LaTeX and Markdown.
matplotlib and jinja2 are imported only when a report is written.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from iassf_jax.files import write_bytes
from iassf_jax.report.effects import effects, effects_csv, with_verdicts
from iassf_jax.report.formats import (
    MAIN_TABLE,
    means_text,
    methods_of_csv,
    scores_csv,
    summary_json,
    tables_latex,
    tables_markdown,
)
from iassf_jax.report.inputs import Box, Grid, Method, Metric, Seeds, check_absent, check_grid, check_scores
from iassf_jax.report.page import compared, render_page
from iassf_jax.report.published import published_tables
from iassf_jax.report.tables import build_table, images_of

__all__ = ["Box", "Grid", "Method", "Metric", "Seeds", "read_means", "read_scores", "write_report"]


def read_means(output: Path) -> str:
    """The means of a written report's main table, as text."""
    return means_text(json.loads((Path(output) / "summary.json").read_text(encoding="utf-8")))


def read_scores(output: Path) -> list[Method]:
    """The methods of a written report's main table, in their order, with all scores."""
    return methods_of_csv((Path(output) / "scores.csv").read_bytes().decode())


def write_report(
    output: Path,
    title: str,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    *,
    about: Mapping[str, object] = {},
    absent: Mapping[str, str] = {},
    published: Sequence[str] = (),
    grids: Sequence[Grid] = (),
    tables: Sequence[tuple[str, Sequence[Method]]] = (),
    seeds: Seeds | None = None,
) -> list[Path]:
    """Writes report.html, scores.csv, summary.json, table.tex and table.md; the same input gives the same bytes.

    With `seeds` also effects.csv.

    Args:
        output: the folder; it is made, and files of these names in it are replaced.
        title: of the report.
        methods: rows of the main table; violins and complexity bubbles are theirs.
        metrics: columns of every table.
        about: conditions of the run (data, split, weights, versions), shown as a list.
        absent: metric name -> why it has no values.
        published: tables of the paper ("I" to "IX") whose rows are shown, apart and never marked, in the main table.
        grids: image grids.
        tables: title and rows of further tables, such as ablations and sweeps.
        seeds: runs that are compared with intervals; the main table then tells verdicts and marks no best.

    Returns:
        The files written, report.html first.

    Raises:
        UserError: input of which no report can be made, or a folder that cannot be written.
    """
    every = [(MAIN_TABLE, methods), *tables]
    check_scores(every, metrics)
    check_absent(absent, methods)
    for grid in grids:
        check_grid(grid)
    paper = published_tables(published)
    built = [build_table(MAIN_TABLE, methods, metrics, absent=absent, published=paper, marked=not seeds)]
    built += [build_table(name, rows, metrics, row_header="Variant", absent=absent) for name, rows in tables]
    comparison = None
    if seeds:
        found = effects(seeds.rows, seeds.base, metrics)
        built[0] = with_verdicts(built[0], found, seeds.base)
        comparison = compared(seeds, found, metrics)
    texts = {
        "scores.csv": scores_csv(every, metrics),
        "summary.json": summary_json(title, every, built, about=about, absent=absent, published=paper),
        "table.tex": tables_latex(built),
        "table.md": tables_markdown(title, built),
    }
    if seeds:
        texts["effects.csv"] = effects_csv(found)
    shown = {"about": about, "grids": grids, "images": len(images_of(methods)), "comparison": comparison}
    texts = {"report.html": render_page(title, methods, metrics, built, **shown, files=list(texts))} | texts
    # File names that are no UTF-8 reach Python as lone surrogates.
    files = {Path(output) / name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    for path, data in files.items():
        write_bytes(path, data)
    if not seeds:  # an earlier report's
        (Path(output) / "effects.csv").unlink(missing_ok=True)
    return list(files)
