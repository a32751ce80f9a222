"""Tables of the report: means, marks, published and absent values."""

import json
import math
from pathlib import Path

import pytest

from iassf_jax.report import Method, Metric
from iassf_jax.report.formats import tables_latex, tables_markdown
from iassf_jax.report.published import published_tables
from iassf_jax.report.tables import build_table, statistics
from report_cases import AB, CV, PI, full, marks, method


def test_higher_is_better():
    assert marks([0.1, 0.3, 0.2]) == ["", "best", "second"]


def test_lower_is_better():
    assert marks([100.0, 300.0, 200.0], CV) == ["best", "", "second"]


def test_ties_share_marks():
    assert marks([0.3, 0.2, 0.3, 0.2, 0.1]) == ["best", "second", "best", "second", ""]


def test_numbers_that_look_the_same_are_marked_the_same():
    assert marks([0.50001, 0.50002, 0.4]) == ["best", "best", "second"]


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [math.nan, 0.5], [math.nan, math.nan]])
def test_without_two_different_numbers_no_marks(values):
    assert set(marks(values)) == {""}


def test_negative_and_zero_values():
    assert marks([-0.5, 0.0, -0.00001]) == ["second", "best", "best"]
    table = build_table("T", [method("A", [-0.00001]), method("B", [1.0])], [AB])
    assert [row.cells[0].text for row in table.rows] == ["0.000", "1.000"]


def test_small_values_get_the_digits_that_tell_them_apart():
    table = build_table("T", [method("A", [0.00345]), method("B", [0.00346])], [AB])
    assert [row.cells[0].text for row in table.rows] == ["0.00345", "0.00346"]
    assert [row.cells[0].mark for row in table.rows] == ["second", "best"]


def test_published_rows_are_apart_and_never_marked():
    paper = published_tables(["I"])  # its Q_AB/F go up to 0.652, Q_CV down to 238.42
    measured = [Method(n, {"x": {"Q_AB/F": a, "Q_CV": c}}) for n, a, c in [("A", 0.1, 900.0), ("B", 0.2, 800.0)]]
    table = build_table("T", measured, [AB, CV], published=paper)
    assert [cell.mark for cell in table.rows[1].cells] == ["best", "best"]
    (group,) = table.groups
    assert group.heading == "Published, other data split: Table I (MSRS, DIACMP then fusion)"
    assert {cell.mark for row in group.rows for cell in row.cells} == {""}
    assert [cell.text for cell in group.rows[-1].cells] == ["0.652", "238.420"]
    assert all(row.name.endswith("\u2020") for row in group.rows)
    assert any(note.startswith("\u2020 Published") and "another data split" in note for note in table.notes)
    assert tables_latex([table]).count(r"\textbf") == 2
    assert tables_markdown("T", [table]).count("**") == 4


def test_published_tables_without_these_metrics_are_not_shown():
    table = build_table(
        "T", [method("A", [1.0], "PSNR")], [Metric("PSNR", "higher")], published=published_tables(["I"])
    )
    assert table.groups == ()
    assert "Table I of the paper has none of these metrics." in table.notes


def test_published_numbers_are_those_of_the_reference():
    reference = Path(__file__).parents[3] / "shared/reference/paper_tables.json"
    if not reference.is_file():
        pytest.skip(f"{reference} is not there")
    tables = json.loads(reference.read_text())["tables"]
    assert {table.name: table.rows for table in published_tables(list(tables))} == {
        name: table["rows"] for name, table in tables.items()
    }


# Undefined values


def test_undefined_values_are_left_out_and_counted():
    values = [0.2, math.nan, math.inf, 0.4, None]
    table = build_table("T", [method("A", values), method("B", [0.1] * 5)], [AB])
    assert (table.rows[0].cells[0].text, table.rows[0].cells[0].count) == ("0.300", "2 of 5")
    assert table.rows[1].cells[0].count == ""
    assert statistics(method("A", values), "Q_AB/F")["n"] == 2
    assert "(2 of 5)" in tables_latex([table])
    assert "(2 of 5)" in tables_markdown("T", [table])
    assert any("n of N" in note for note in table.notes)


def test_missing_images_are_counted():
    table = build_table("T", [method("A", [0.2, 0.3, 0.4]), method("B", [0.9])], [AB])
    assert [row.cells[0].count for row in table.rows] == ["", "1 of 3"]
    assert [row.cells[0].mark for row in table.rows] == ["", ""]
    whole = [method("A", [0.2, 0.3]), method("C", [0.1, 0.1]), method("B", [0.9])]
    assert [row.cells[0].mark for row in build_table("T", whole, [AB]).rows] == ["best", "second", ""]
    partial = [method("A", [0.2, None]), method("B", [None, 0.9])]
    assert [row.cells[0].mark for row in build_table("T", partial, [AB]).rows] == ["second", "best"]


def test_statistics():
    numbers = statistics(method("A", [1.0, 2.0, 3.0, 4.0, 10.0]), "Q_AB/F")
    assert numbers == {"n": 5, "mean": 4, "std": pytest.approx(math.sqrt(10)), "min": 1, "quartile1": 2} | {
        "median": 3,
        "quartile3": 4,
        "max": 10,
    }


def test_absent_metric_is_said_with_its_reason(tmp_path):
    full(tmp_path)
    for name in ("report.html", "table.tex", "table.md"):
        text = (tmp_path / name).read_text().replace("\\", "")
        assert "Q_PI was not computed: no model" in text
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["absent"] == {"Q_PI": "no model"}
    for row in summary["tables"][0]["methods"]:
        assert row["scores"]["Q_PI"] is None
        assert "Q_PI" not in row["best"] + row["second"]


def test_metric_without_values_and_reason_is_said_too():
    table = build_table("T", [method("A", [0.1])], [AB, PI])
    assert table.rows[0].cells[1].text == "\u2013"
    assert any(note.startswith("Q_PI was not computed") for note in table.notes)


def test_absent_metric_without_a_column_is_said():
    table = build_table("T", [method("A", [0.1])], [AB], absent={"LPIPS": "no weights"})
    assert "LPIPS was not computed: no weights" in table.notes
