"""What a report is made of, and the checks that it can be made of that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from iassf_jax.errors import UserError
from iassf_jax.metrics import Metric

Box = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    Attributes:
        name: as shown; unique in its table.
        scores: image stem -> metric name -> value; what is missing, NaN or infinite counts as undefined.
        parameters: number of parameters of the network.
        gmac: multiply-adds of the network, in 10^9.
    """

    name: str
    scores: Mapping[str, Mapping[str, float]]
    parameters: int | None = None
    gmac: float | None = None


@dataclass(frozen=True)
class Grid:
    """A grid of images: one row an example.

    Attributes:
        columns: headings, such as "hazy", "infrared" and the names of methods.
        rows: a row's images, one a column and all of one size: uint8[H, W, 3] (R, G, B) or uint8[H, W].
        labels: one a row.
        boxes: up to two regions a row to zoom into, as (top, left, height, width) in pixels; without any, they
            are chosen where the columns differ most.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[np.ndarray]]
    labels: Sequence[str]
    boxes: Sequence[Sequence[Box]] = ()


@dataclass(frozen=True)
class Seeds:
    """Runs of several seeds a row, and the row that the others are compared with.

    Attributes:
        rows: name -> a run a seed, two or more.
        base: of the names.
        curves: name -> a curve of training a seed: steps, and the validation PSNR in dB at each.
    """

    rows: Mapping[str, Sequence[Method]]
    base: str
    curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]


def check_scores(tables: Sequence[tuple[str, Sequence[Method]]], metrics: Sequence[Metric]) -> None:
    """Checks that tables can be made of these methods and metrics.

    Args:
        tables: title and methods of each table.
        metrics: the columns.

    Raises:
        UserError: no metric, method or image, a name twice, or an unknown direction.
    """
    if not metrics:
        raise UserError("the report has no metric: name at least one")
    _check_unique([metric.name for metric in metrics], "metric")
    for metric in metrics:
        if metric.better not in ("higher", "lower"):
            raise UserError(f"the metric '{metric.name}' is better '{metric.better}': use 'higher' or 'lower'")
    _check_unique([title for title, _ in tables], "table")
    for title, methods in tables:
        if not methods:
            raise UserError(f"the table '{title}' has no method: give it at least one")
        _check_unique([method.name for method in methods], f"method of the table '{title}'")
        for method in methods:
            if not method.scores:
                raise UserError(f"the method '{method.name}' has no image: score at least one, or leave it out")


def _check_unique(names: Sequence[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"the {what} '{name}' is there twice: rename one")


def check_absent(absent: Mapping[str, str], methods: Sequence[Method]) -> None:
    """Checks that what is named as absent is absent.

    Args:
        absent: metric name -> why it has no values.
        methods: the rows of the main table.

    Raises:
        UserError: a method has a value of such a metric.
    """
    for method in methods:
        for name in absent:
            values = (scores.get(name) for scores in method.scores.values())
            if any(value is not None and np.isfinite(value) for value in values):
                raise UserError(
                    f"'{name}' is named absent, but '{method.name}' has values of it: leave out one of them"
                )


def check_grid(grid: Grid) -> None:
    """Checks that a grid is complete and its zoom boxes lie inside its images.

    Args:
        grid: the grid.

    Raises:
        UserError: numbers that do not fit each other, arrays that are no 8-bit images, or a box outside.
    """
    if not grid.columns or not grid.rows:
        raise UserError("an image grid is empty: give it a column and a row, or leave it out")
    if len(grid.labels) != len(grid.rows):
        raise UserError(f"an image grid has {len(grid.rows)} rows, but {len(grid.labels)} labels: give one a row")
    if grid.boxes and len(grid.boxes) != len(grid.rows):
        raise UserError(f"an image grid has {len(grid.rows)} rows, but boxes for {len(grid.boxes)}: give all or none")
    for i, (label, row) in enumerate(zip(grid.labels, grid.rows, strict=True)):
        where = f"row '{label}' of an image grid"
        if len(row) != len(grid.columns):
            raise UserError(f"{where} has {len(row)} images for {len(grid.columns)} columns: give one a column")
        for image in row:
            if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
                raise UserError(f"{where} has an array {image.dtype}{list(image.shape)}: bring it to uint8[H, W, 3]")
        sizes = sorted({image.shape[:2] for image in row})
        if len(sizes) > 1 or 0 in sizes[0]:
            raise UserError(f"{where} has images of {sizes} pixels: bring them to one size")
        _check_boxes(grid.boxes[i] if grid.boxes else (), *sizes[0], where)


def _check_boxes(boxes: Sequence[Box], height: int, width: int, where: str) -> None:
    if len(boxes) > 2:
        raise UserError(f"{where} has {len(boxes)} zoom boxes: give two at most")
    for top, left, tall, wide in boxes:
        if min(top, left) < 0 or min(tall, wide) < 1 or top + tall > height or left + wide > width:
            raise UserError(
                f"{where} has a zoom box {(top, left, tall, wide)} outside its {height} x {width} pixels: "
                "give (top, left, height, width) inside"
            )
