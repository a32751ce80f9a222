"""Tables and scores as CSV, JSON, LaTeX and Markdown."""

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from iassf_jax.report.inputs import Method, Metric
from iassf_jax.report.published import PublishedTable, source
from iassf_jax.report.tables import ARROWS, DAGGER, NO_VALUE, Cell, Row, Table, images_of, number, statistics

MAIN_TABLE = "Results"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # \textquotedbl exists only in T1 fonts
    ARROWS["higher"]: r"$\uparrow$",
    ARROWS["lower"]: r"$\downarrow$",
    DAGGER: r"\textsuperscript{\dag}",
    NO_VALUE: "--",
    "\u00b1": r"$\pm$",
    "\u201c": "``",
    "\u201d": "''",
} | {character: "\\" + character for character in "&%$#_{}"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MARKDOWN = re.compile(r"([\\`*_\[\]|~#$])")


def split_name(metric: str) -> tuple[str, str]:
    """Splits "Q_AB/F" into "Q" and its subscript "AB/F"; other names have none."""
    return ("Q", metric[2:]) if metric.startswith("Q_") and len(metric) > 2 else (metric, "")


def escape_latex(text: str) -> str:
    """Text on one line that LaTeX shows as it is."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Text on one line that Markdown, also inside a table, shows as it is."""
    text = _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
    # After the backslashes: the "#" of an entity must stay.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(value: object) -> Any:
    """A value as JSON knows it: NaN and infinity become null, what is no number, list or mapping its text."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def csv_text(text: str) -> str:
    """A name as a CSV cell that no spreadsheet takes for a formula: an apostrophe comes before what might begin one."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _name_of(cell: str) -> str:
    """The inverse of `csv_text`."""
    return cell.removeprefix("'")


def scores_csv(tables: Sequence[tuple[str, Sequence[Method]]], metrics: Sequence[Metric]) -> str:
    """The scores themselves: a line per table, method and image, with every digit.

    Args:
        tables: title and methods of each table.
        metrics: the columns.

    Returns:
        CSV as in RFC 4180 with a header; names as `csv_text` gives them. What a method has no score for is empty;
        undefined values stay `nan` or `inf`.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["table", "method", "image", *(csv_text(metric.name) for metric in metrics)])
    for title, methods in tables:
        for method in methods:
            for stem, scores in method.scores.items():
                values = (scores.get(metric.name) for metric in metrics)
                texts = ("" if value is None else repr(number(value)) for value in values)
                writer.writerow([*map(csv_text, (title, method.name, stem)), *texts])
    return text.getvalue()


def methods_of_csv(text: str) -> list[Method]:
    """The methods of the main table in what `scores_csv` gives, without parameters and multiply-adds."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for row in csv.DictReader(io.StringIO(text, newline="")):
        table, method, image = (_name_of(row.pop(name)) for name in ("table", "method", "image"))
        if table == MAIN_TABLE:
            values = {_name_of(name): float(value) for name, value in row.items() if value}
            scores.setdefault(method, {})[image] = values
    return [Method(name, of_images) for name, of_images in scores.items()]


def summary_json(
    title: str,
    tables: Sequence[tuple[str, Sequence[Method]]],
    built: Sequence[Table],
    *,
    about: Mapping[str, object],
    absent: Mapping[str, str],
    published: Sequence[PublishedTable],
) -> str:
    """What the page's tables tell in numbers, for programs; differences of seeds are in effects.csv.

    Args:
        title: of the report.
        tables: title and methods of each table.
        built: the same tables, built.
        about: conditions of the run.
        absent: metric name -> why it has no values.
        published: tables of the paper that are shown.

    Returns:
        Strict JSON: no NaN, no infinity.
    """
    content = {
        "title": title,
        "about": plain(about),
        "metrics": [{"name": metric.name, "better": metric.better} for metric in built[0].columns],
        "absent": dict(absent),
        "tables": [_summary(methods, table) for (_, methods), table in zip(tables, built, strict=True)],
        "published": {
            "source": source(),
            "note": "other data split: not comparable with the measured rows",
            "tables": {
                table.name: {"dataset": table.dataset, "setting": table.setting, "rows": table.rows}
                for table in published
            },
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def means_text(summary: Mapping[str, Any]) -> str:
    """The means of a summary's first table as aligned text, for terminals, "n of N" beside those over some images.

    Args:
        summary: what `summary_json` gives, as read from JSON.
    """
    methods, total = (summary["tables"][0][part] for part in ("methods", "images"))
    names = [metric["name"] for metric in summary["metrics"] if metric["name"] not in summary["absent"]]
    columns = [["", *(method["name"] for method in methods)]]
    for name in names:
        found = [method["scores"].get(name) or {"mean": math.nan, "n": total} for method in methods]
        counts = (f" ({x['n']} of {total})" if x["n"] < total else "" for x in found)
        means = (f"{x['mean']:.3f}{count}" for x, count in zip(found, counts, strict=True))
        columns.append([name.removeprefix("dehazed "), *means])
    first, *widths = (max(map(len, column)) for column in columns)
    lines = []
    for name, *cells in zip(*columns, strict=True):
        padded = (f" {cell:>{max(8, width)}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{name:<{first}}" + "".join(padded))
    return "\n".join(lines)


def _summary(methods: Sequence[Method], table: Table) -> dict[str, Any]:
    names = [metric.name for metric in table.columns]
    rows = []
    for method, row in zip(methods, table.rows, strict=True):
        marked = {
            mark: [name for name, cell in zip(names, row.cells, strict=True) if cell.mark == mark]
            for mark in ("best", "second")
        }
        counts = {"name": method.name, "parameters": plain(method.parameters), "gmac": plain(method.gmac)}
        rows.append(counts | marked | {"scores": {name: plain(statistics(method, name)) for name in names}})
    return {"title": table.title, "images": len(images_of(methods)), "methods": rows}


def tables_latex(tables: Sequence[Table]) -> str:
    """The tables for a paper: booktabs, the best in bold, the second underlined, notes below.

    Args:
        tables: the tables.

    Returns:
        A file for `\\input`, with one `table*` environment a table.
    """
    header = "% Needs \\usepackage{booktabs,graphicx}. UTF-8.\n"
    return header + "\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    width = len(table.columns) + 1
    headings = [escape_latex(table.row_header), *(_latex_heading(metric) for metric in table.columns)]
    lines = [r"\begin{table*}", r"\centering", rf"\caption{{{escape_latex(table.title)}}}", r"\small"]
    # Never wider than the page; narrow tables keep their size.
    fit = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{"
    lines += [rf"{fit}\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", " & ".join(headings) + r" \\"]
    lines.append(r"\midrule")
    lines += [_latex_row(row) for row in table.rows]
    for group in table.groups:
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape_latex(group.heading)}}}}} \\"]
        lines += [_latex_row(row, published=True) for row in group.rows]
    lines += [r"\bottomrule", r"\end{tabular}}", "", r"\smallskip", r"\begin{minipage}{0.9\textwidth}\footnotesize"]
    lines += [escape_latex(note) + r"\par" for note in table.notes]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table*}", ""])


def _latex_heading(metric: Metric) -> str:
    base, below = map(escape_latex, split_name(metric.name))
    name = rf"{base}\textsubscript{{{below}}}" if below else base
    return f"{name} {escape_latex(ARROWS[metric.better])}"


def _latex_row(row: Row, published: bool = False) -> str:
    def cell(cell: Cell) -> str:
        text = {"best": r"\textbf{%s}", "second": r"\underline{%s}"}.get(cell.mark, "%s") % escape_latex(cell.text)
        return text + (rf" {{\scriptsize({cell.count})}}" if cell.count else "")

    # The braces also keep a "[" or "*" in a name from being read as an argument of the \\ before.
    texts = [f"{{{escape_latex(row.name)}}}", *map(cell, row.cells)]
    return " & ".join(rf"\textit{{{text}}}" if published else text for text in texts) + r" \\"


def tables_markdown(title: str, tables: Sequence[Table]) -> str:
    """The tables for a README: the best in bold, the second underlined (`<ins>`), notes below.

    Args:
        title: of the report.
        tables: the tables.

    Returns:
        Markdown as GitHub reads it.
    """
    return "\n".join([f"# {escape_markdown(title)}\n", *map(_markdown, tables)])


def _markdown(table: Table) -> str:
    headings = [escape_markdown(f"{metric.name} {ARROWS[metric.better]}") for metric in table.columns]
    lines = [f"## {escape_markdown(table.title)}", ""]
    lines += [_markdown_line([escape_markdown(table.row_header), *headings])]
    lines += [_markdown_line(["---", *["---:"] * len(headings)])]
    lines += [_markdown_row(row) for row in table.rows]
    for group in table.groups:
        lines.append(_markdown_line([f"*{escape_markdown(group.heading)}*", *[""] * len(headings)]))
        lines += [_markdown_row(row, published=True) for row in group.rows]
    return "\n".join([*lines, "", *(f"- {escape_markdown(note)}" for note in table.notes), ""])


def _markdown_line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _markdown_row(row: Row, published: bool = False) -> str:
    def cell(cell: Cell) -> str:
        text = {"best": "**%s**", "second": "<ins>%s</ins>"}.get(cell.mark, "%s") % cell.text
        return text + (f" ({cell.count})" if cell.count else "")

    texts = [escape_markdown(row.name), *map(cell, row.cells)]
    return _markdown_line([f"*{text}*" if published else text for text in texts])
