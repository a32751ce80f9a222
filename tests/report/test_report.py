"""The report's files and page: escaping, plots, grids, errors."""

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from iassf_jax.data.images import write_image
from iassf_jax.errors import UserError
from iassf_jax.evaluate.run import _write_scores
from iassf_jax.report import Grid, Method, Metric, read_means, read_scores, write_report
from iassf_jax.report.formats import escape_latex, escape_markdown, plain
from iassf_jax.report.grids import choose_boxes, grid_rows
from iassf_jax.report.plots import bubbles, violins
from report_cases import AB, CV, NAMES, Page, full, method, noisy, picture


def test_files(tmp_path):
    folder = tmp_path / "new" / "folder"
    assert full(folder) == [folder / name for name in NAMES]
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)


def test_csv_has_a_line_per_method_and_image(tmp_path):
    methods = [method("A", [0.1, math.nan]), Method("B", {"image0": {}})]
    write_report(tmp_path, "R", methods, [AB], tables=[("M", [method("C", [1 / 3])])])
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["table", "method", "image", "Q_AB/F"],
        ["Results", "A", "image0", "0.1"],
        ["Results", "A", "image1", "nan"],
        ["Results", "B", "image0", ""],
        ["M", "C", "image0", repr(1 / 3)],
    ]


def test_json_is_strict(tmp_path):
    def refuse(name):
        raise AssertionError(name)

    about = {"loss": math.nan, "array": np.arange(2), "path": Path("x"), "nested": {"a": [math.inf, None, True]}}
    write_report(
        tmp_path, "R", [method("A", [math.nan, math.inf], parameters=np.int64(3), gmac=math.nan)], [AB], about=about
    )
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse)
    assert summary["about"] == {"loss": None, "array": [0, 1], "path": "x", "nested": {"a": [None, None, True]}}
    (row,) = summary["tables"][0]["methods"]
    assert (row["parameters"], row["gmac"], row["scores"]) == (3, None, {"Q_AB/F": None})


def test_plain_keeps_numbers():
    assert plain((np.float32(0.5), np.bool_(True), 2**70)) == [0.5, True, 2**70]


def test_summary_names_best_and_second(tmp_path):
    write_report(tmp_path, "R", [method("A", [0.1]), method("B", [0.2])], [AB], published=["II"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [row["best"] for row in summary["tables"][0]["methods"]] == [[], ["Q_AB/F"]]
    assert "not comparable" in summary["published"]["note"]
    assert summary["published"]["tables"]["II"]["rows"]["MRFS"]["Q_MI"] == 1.603


def test_means_of_some_images_are_told_as_such(tmp_path):
    methods = [method("A", [0.1, 0.3, 0.2]), method("longer name", [0.5, math.nan, math.nan])]
    write_report(tmp_path, "T", methods, [AB, CV])
    assert read_means(tmp_path).splitlines() == [
        "                    Q_AB/F     Q_CV",
        "A                    0.200      nan",
        "longer name 0.500 (1 of 3)      nan",
    ]


def test_same_input_same_bytes(tmp_path):
    first = [path.read_bytes() for path in full(tmp_path / "a")]
    assert first == [path.read_bytes() for path in full(tmp_path / "b")]


def test_not_even_another_process_differs():
    code = (
        "from iassf_jax.report import Method, Metric; from iassf_jax.report.plots import violins\n"
        "scores = {str(i): {'m': float(i * i)} for i in range(5)}\n"
        "print(violins([Method('A', scores)], Metric('m', 'higher')), end='')\n"
        "import sys; assert 'matplotlib.pyplot' not in sys.modules"
    )
    here = violins([Method("A", {str(i): {"m": float(i * i)} for i in range(5)})], Metric("m", "higher"))
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout == here


def test_importing_stays_light():
    code = (
        "import sys, iassf_jax, iassf_jax.report\n"
        "assert not {'matplotlib', 'jinja2', 'jax'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_users_matplotlib_is_left_alone():
    import matplotlib

    with matplotlib.rc_context({"font.size": 31, "text.usetex": True}):
        before = matplotlib.rcParams.copy()
        assert violins([method("A", [0.1, 0.2])], AB)
        assert matplotlib.rcParams.copy() == before


# Page


def test_page_loads_nothing_from_outside(tmp_path):
    full(tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    loaded = [
        value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "srcset", "href", "data")
    ]
    assert loaded
    for value in loaded:
        assert re.match(r"data:image/(jpeg|svg\+xml);base64,[A-Za-z0-9+/=]+$|#[a-z0-9-]+$", value) or value in NAMES
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "url(" not in text and "@import" not in text
    policy = next(attrs for tag, attrs in page.tags if "http-equiv" in attrs)
    assert policy["content"].startswith("default-src 'none'")


def test_contents_lead_to_sections(tmp_path):
    full(tmp_path)
    tags = Page((tmp_path / "report.html").read_text()).tags
    anchors = [attrs["href"][1:] for _, attrs in tags if attrs.get("href", "").startswith("#")]
    sections = [attrs["id"] for tag, attrs in tags if tag == "section"]
    assert anchors == sections == ["table-1", "table-2", "distributions", "complexity", "images", "about"]


def test_page_shows_marks_and_greys_the_published(tmp_path):
    write_report(tmp_path, "R", [method("A", [0.1]), method("B", [0.2])], [AB], published=["I"])
    text = (tmp_path / "report.html").read_text()
    assert "<b>0.200</b>" in text and "<u>0.100</u>" in text
    published = text[text.index('<tbody class="published">') : text.index("</table>")]
    assert "0.652" in published and "<b>" not in published and "<u>" not in published


NASTY = '<script>alert("1")</script> a_b & c|d 50% $x$ [m] *n* \\ ~^{} #'


def test_names_are_escaped_everywhere(tmp_path):
    grid = Grid([NASTY], [[picture(9, 9)]], [NASTY])
    about = {NASTY: NASTY}
    methods = [
        method(NASTY, [0.1, 0.2], NASTY, parameters=5, gmac=1),
        method("B\nC", [0.3], NASTY, parameters=5, gmac=1),
    ]
    tables = [(NASTY, [method(NASTY, [1.0], NASTY)])]
    metric = Metric(NASTY, "higher")
    write_report(tmp_path, NASTY, methods, [metric], about=about, grids=[grid], tables=tables, absent={"x|<y>": NASTY})
    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.words.count(NASTY) >= 8
    table = (tmp_path / "table.md").read_text()
    assert "<script" not in table
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    latex = (tmp_path / "table.tex").read_text()
    assert r"a\_b \& c\textbar{}d 50\% \$x\$" in latex
    body = re.sub(r"\$\\(up|down)arrow\$", "", latex.split("\n", 1)[1])
    assert not re.search(r"(?<!\\)[$%#_~^]", body)
    assert body.replace(r"\{", "").count("{") == body.replace(r"\}", "").count("}")
    with open(tmp_path / "scores.csv", newline="") as file:
        assert next(row for row in csv.DictReader(file))["method"] == NASTY
    json.loads((tmp_path / "summary.json").read_text())


def test_escapes():
    assert escape_latex("a_b & {c} \\ \u2191\n\nx") == r"a\_b \& \{c\} \textbackslash{} $\uparrow$ x"
    assert escape_markdown("a|b_c <d> & `e`\nf") == r"a\|b\_c &lt;d&gt; &amp; \`e\` f"


def test_names_that_are_no_utf8_or_no_xml(tmp_path):
    methods = [Method("\udcff\x01 \u4e2d", {"\udcfe": {"Q_AB/F": 0.5}, "y": {"Q_AB/F": 0.6}}, parameters=1, gmac=1)]
    write_report(tmp_path, "R", methods, [AB])
    assert json.loads((tmp_path / "summary.json").read_text())["tables"][0]["methods"][0]["name"] == methods[0].name


# Plots


@pytest.mark.parametrize("values", [[0.5], [0.5] * 7, [0.0, 0.0], [1e-9, 2e-9], [-3.0, 1e6], [0.1, 0.2, 5.0]])
def test_violins_of_few_constant_and_far_values(values):
    svg = violins([method("A", values), method("B", [math.nan])], AB)
    assert svg.startswith("<?xml") and ">A<" in svg


def test_no_plots_without_values():
    empty = [method("A", [math.nan], parameters=1, gmac=1.0)]
    assert violins(empty, AB) is None
    assert bubbles(empty, AB) is None
    assert bubbles([method("A", [0.5], parameters=1)], AB) is None


def test_bubbles_name_methods_and_parameters():
    svg = bubbles(
        [method("A", [0.5], parameters=11_200_000, gmac=17.3), method("B", [0.6], parameters=900, gmac=300)], AB
    )
    assert "A, 11.2 M" in svg and "B, 900" in svg


def test_methods_without_counts_are_named(tmp_path):
    full(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "Without a bubble, for want of counts or values: C." in text
    write_report(tmp_path, "R", [noisy("A", 0)], [AB])
    assert 'id="complexity"' not in (tmp_path / "report.html").read_text()


def test_one_method_one_image_one_metric(tmp_path):
    write_report(tmp_path, "R", [method("A", [0.5], parameters=7, gmac=0.1)], [AB])
    text = (tmp_path / "report.html").read_text()
    assert "1 method, 1 metric, 1 image" in text and "Values of one image." in text


# Grids


@pytest.mark.parametrize("height,width", [(1, 1), (1, 50), (7, 5), (16, 9), (33, 71), (240, 321), (500, 3)])
def test_chosen_boxes_lie_inside_and_apart(height, width):
    boxes = choose_boxes([picture(height, width, i, channels) for i, channels in enumerate((3, 0, 3))])
    assert 1 <= len(boxes) <= 2
    covered = np.zeros((height, width), int)
    for top, left, tall, wide in boxes:
        assert top >= 0 and left >= 0 and tall >= 1 and wide >= 1
        assert top + tall <= height and left + wide <= width
        covered[top : top + tall, left : left + wide] += 1
    assert covered.max() == 1


def test_box_finds_what_only_one_column_shows():
    plain_image = np.full((120, 160), 90, np.uint8)
    warm = plain_image.copy()
    warm[70:90, 120:135] = 250
    top, left, tall, wide = choose_boxes([plain_image, warm])[0]
    assert top <= 70 and top + tall >= 90 and left <= 120 and left + wide >= 135


@pytest.mark.parametrize("images", [[np.zeros((20, 30), np.uint8)], [np.full((20, 30, 3), 7, np.uint8)] * 3])
def test_images_without_any_difference(images):
    assert len(choose_boxes(images)) == 2


def test_given_boxes_are_kept():
    grid = Grid(["a"], [[picture(40, 80)]], ["x"], [[(10, 20, 10, 40)]])
    (row,) = grid_rows(grid)
    (zoom,) = row.zooms
    assert (zoom.left, zoom.top, zoom.width, zoom.height, zoom.aspect) == (25, 25, 50, 25, 4)
    assert len(row.tiles[0].zoomed) == 1


def test_tiles_are_small(tmp_path):
    large = np.tile(picture(4, 4), (200, 300, 1))
    (row,) = grid_rows(Grid(["a"], [[large]], ["x"]))
    assert row.tiles[0].size == (320, 213)


# Errors


def sizes(*shapes):
    return [np.zeros(shape, np.uint8) for shape in shapes]


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"methods": []}, "has no method"),
        ({"methods": [Method("A", {})]}, "has no image"),
        ({"methods": [method("A", [1.0])] * 2}, "'A' is there twice"),
        ({"metrics": []}, "no metric"),
        ({"metrics": [AB, AB]}, "'Q_AB/F' is there twice"),
        ({"metrics": [Metric("x", "up")]}, "use 'higher' or 'lower'"),
        ({"published": ["XI"]}, "no Table 'XI'"),
        ({"tables": [("T", [])]}, "'T' has no method"),
        ({"tables": [("T", [method("A", [1.0])])] * 2}, "'T' is there twice"),
        ({"absent": {"Q_AB/F": "why"}}, "named absent"),
        ({"grids": [Grid([], [], [])]}, "is empty"),
        ({"grids": [Grid(["a"], [sizes((3, 3))], [])]}, "0 labels"),
        ({"grids": [Grid(["a", "b"], [sizes((3, 3))], ["x"])]}, "1 images for 2 columns"),
        ({"grids": [Grid(["a", "b"], [sizes((3, 3), (3, 4))], ["x"])]}, "one size"),
        ({"grids": [Grid(["a"], [sizes((3, 0))], ["x"])]}, "one size"),
        ({"grids": [Grid(["a"], [sizes((3, 3, 4))], ["x"])]}, "uint8[H, W, 3]"),
        ({"grids": [Grid(["a"], [[np.zeros((3, 3))]], ["x"])]}, "uint8[H, W, 3]"),
        ({"grids": [Grid(["a"], [sizes((3, 3))], ["x"], [[(0, 0, 1, 4)]])]}, "outside its 3 x 3 pixels"),
        ({"grids": [Grid(["a"], [sizes((3, 3))], ["x"], [[(0, 0, 1, 1)] * 3])]}, "two at most"),
        ({"grids": [Grid(["a"], [sizes((3, 3))] * 2, ["x", "y"], [[]])]}, "boxes for 1"),
    ],
)
def test_errors_are_one_clear_line(tmp_path, changes, words):
    inputs = {"methods": [method("A", [1.0])], "metrics": [AB]} | changes
    with pytest.raises(UserError) as caught:
        write_report(tmp_path / "out", "R", **inputs)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_written(tmp_path):
    write_image(tmp_path / "file.png", picture(3, 3))
    with pytest.raises(UserError, match="cannot be written"):
        full(tmp_path / "file.png")


@pytest.mark.parametrize(
    "name", ['=HYPERLINK("http://a.b")', "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "a\r=1", "a\n=1", "'=1", "a=1", "-"]
)
def test_no_name_is_a_formula_in_csv(tmp_path, name):
    metric = Metric(name, "higher")
    methods = [Method(name, {name: {name: 0.5}, "b": {name: 0.25}})]
    write_report(tmp_path, name, methods, [metric], tables=[(f"{name} again", methods)])
    with open(tmp_path / "scores.csv", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert read_scores(tmp_path) == methods  # and what is read again has the names as they were


def test_no_image_is_a_formula_in_the_csv_of_an_evaluation(tmp_path):
    _write_scores(tmp_path, {"=1+1": {"psnr": 20.0}}, {}, 0)
    assert (tmp_path / "metrics.csv").read_text() == "image,psnr\n'=1+1,20\n"
