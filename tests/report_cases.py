"""Made-up scores, methods and pictures for the tests of the report."""

import html.parser

import numpy as np

from iassf_jax.report import Grid, Method, Metric, write_report
from iassf_jax.report.tables import build_table

AB = Metric("Q_AB/F", "higher")
CV = Metric("Q_CV", "lower")
PI = Metric("Q_PI", "lower")
NAMES = ["report.html", "scores.csv", "summary.json", "table.tex", "table.md"]


def method(name, values, metric="Q_AB/F", **counts):
    return Method(name, {f"image{i}": {metric: value} for i, value in enumerate(values)}, **counts)


def marks(values, metric=AB, **options):
    table = build_table("T", [method(str(i), [v], metric.name) for i, v in enumerate(values)], [metric], **options)
    return [row.cells[0].mark for row in table.rows]


def noisy(name, seed, **counts):
    rng = np.random.default_rng(seed)
    scores = {f"{i:03d}": {"Q_AB/F": rng.normal(0.5, 0.1), "Q_CV": rng.gamma(4, 100)} for i in range(12)}
    return Method(name, scores, **counts)


def picture(height, width, seed=0, channels=3):
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def full(folder, **options):
    methods = [
        noisy("A", 0, parameters=11_200_000, gmac=17.3),
        noisy("B", 1, parameters=3_000_000, gmac=250),
        noisy("C", 2),
    ]
    grid = Grid(["hazy", "fused"], [[picture(40, 61), picture(40, 61, 1, 0)]], ["first"])
    options = {
        "about": {"data": "made up"},
        "absent": {"Q_PI": "no model"},
        "published": ["I"],
        "grids": [grid],
    } | options
    tables = [("Sweep of M", [noisy("1", 3), noisy("3", 4)])]
    return write_report(folder, "Report", methods, [AB, CV, PI], tables=tables, **options)


class Page(html.parser.HTMLParser):
    """All tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


# Marks
