"""Violins (Figs. 6-9 of the paper) and complexity bubbles (Fig. 11), as SVG."""

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from iassf_jax.report.inputs import Method, Metric
from iassf_jax.report.tables import ARROWS, finite_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by the colour-blind too; without the yellow, which is faint on white.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5f5f5f", "#7a4fa3")
INK, FAINT = "#2b2f36", "#d9dce1"
_SETTINGS = {
    "svg.fonttype": "none",  # the page's reader has fonts for any script, the machine that plots perhaps not
    "svg.hashsalt": "iassf_jax",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
_NAME_LENGTH = 24


@contextlib.contextmanager
def style() -> Iterator[None]:
    """One look whatever the user's matplotlibrc says, and nothing changed afterwards."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context():
        # Names may be in scripts that matplotlib's own font lacks; it only measures them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def figure_of(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=72, layout="constrained")  # at 72 dpi a pixel is a point, as in SVG
    FigureCanvasAgg(figure)
    return figure


def svg_of(figure: "Figure") -> str:
    """The file."""
    data = io.BytesIO()
    figure.savefig(data, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return data.getvalue().decode()


def label(name: str) -> str:
    """A name that fits a plot; characters that XML forbids become question marks."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "\u2026"


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def violins(methods: Sequence[Method], metric: Metric) -> str | None:
    """How a metric's values spread over the images: a violin a method, with box, median and mean.

    Args:
        methods: a violin each, from top to bottom, in colours by their order.
        metric: the metric.

    Returns:
        An SVG file, or None where no method has a defined value.
    """
    values = [finite_values(method, metric.name) for method in methods]
    if not any(value.size for value in values):
        return None
    with style():
        figure = figure_of(4.4, 0.55 + 0.36 * len(methods))
        axes = figure.add_subplot()
        for i, value in enumerate(values):
            if value.size:
                _violin(axes, value, i, _colour(i))
        name_lines(axes, [method.name for method in methods])
        return svg_of(figure)


def name_lines(axes: "Axes", names: Sequence[str]) -> None:
    """Line i from the top, at the height i, has the name i; values are read at the bottom."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [label(name) for name in names], parse_math=False)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.locator_params(axis="x", nbins=5)


def _violin(axes: "Axes", values: np.ndarray, position: float, colour: str) -> None:
    """Density, box from quartile to quartile, whiskers to the last values within 1.5 boxes, median, mean."""
    low, first, median, third, high = np.percentile(values, (0, 25, 50, 75, 100))
    if low < high:
        grid, density = _density(values)
        half = 0.42 * density / density.max()
        axes.fill_between(grid, position - half, position + half, color=colour, alpha=0.3, linewidth=0)
    reach = 1.5 * (third - first)
    inside = values[(values >= first - reach) & (values <= third + reach)]
    axes.plot([inside.min(), inside.max()], [position] * 2, color=colour, linewidth=1.1, solid_capstyle="round")
    axes.fill_between([first, third], position - 0.11, position + 0.11, color=colour, linewidth=0)
    axes.plot([median] * 2, [position - 0.11, position + 0.11], color="white", linewidth=1.6, solid_capstyle="butt")
    axes.plot(values.mean(), position, "D", color="white", markeredgecolor=INK, markersize=3.6, markeredgewidth=0.8)


def _density(values: np.ndarray, points: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian kernel estimate with Scott's width, from the smallest to the largest value."""
    grid = np.linspace(values.min(), values.max(), points)
    width = max(values.std() * values.size**-0.2, (grid[1] - grid[0]) / 2)
    density = np.zeros(points)
    for value in values:  # a loop, for the memory of many images at once
        density += np.exp(-0.5 * ((grid - value) / width) ** 2)
    return grid, density


def has_counts(method: Method) -> bool:
    """Whether a method's parameters and multiply-adds are known."""
    counts = (method.parameters, method.gmac)
    return all(count is not None and math.isfinite(count) and count > 0 for count in counts)


def bubbles(methods: Sequence[Method], metric: Metric) -> str | None:
    """What quality costs: multiply-adds (x), mean of a metric (y), parameters (area).

    Args:
        methods: a bubble each, in the colours of the violins; those without counts or values are left out.
        metric: the metric of the y axis.

    Returns:
        An SVG file, or None where no method can be drawn.
    """
    drawn = [
        (i, method.gmac, finite_values(method, metric.name).mean(), method.parameters)
        for i, method in enumerate(methods)
        if has_counts(method) and finite_values(method, metric.name).size
    ]
    if not drawn:
        return None
    drawn.sort(key=lambda one: -one[3])  # small bubbles over large ones
    with style():
        figure = figure_of(8, 4.4)
        axes = figure.add_subplot()
        indices, costs, means, parameters = (np.array(column, np.float64) for column in zip(*drawn, strict=True))
        diameters = np.maximum(64 * np.sqrt(parameters / parameters.max()), 5)
        colours = [_colour(int(i)) for i in indices]
        axes.scatter(costs, means, s=diameters**2, c=colours, alpha=0.55, edgecolors=colours, linewidths=1)
        _scale(axes, costs, means)
        axes.set_xlabel("GMAC (multiply-adds in 10\u2079)")
        axes.set_ylabel(f"{label(metric.name)} {ARROWS[metric.better]}", parse_math=False)
        axes.grid(color=FAINT, linewidth=0.6)
        figure.canvas.draw()  # fixes the layout, on which the places of the labels depend
        names = [f"{label(methods[int(i)].name)}, {short(count)}" for i, _, _, count in drawn]
        _label_bubbles(axes, np.stack([costs, means], 1), diameters / 2, names)
        return svg_of(figure)


def short(count: float) -> str:
    """A number of parameters as people say it: "11.2 M"."""
    unit, size = next(((unit, size) for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if count >= size), ("", 1))
    return f"{count / size:.3g} {unit}".strip()


def _scale(axes: "Axes", costs: np.ndarray, means: np.ndarray) -> None:
    """Room for bubbles at the edges; a logarithmic x axis where the costs span more than a decade."""
    if costs.max() > 10 * costs.min():
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        axes.set_xscale("log")
        room = (costs.max() / costs.min()) ** 0.15
        axes.set_xlim(costs.min() / room, costs.max() * room)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}"))
    else:
        room = 0.2 * (np.ptp(costs) or costs.max())
        axes.set_xlim(costs.min() - room, costs.max() + room)
    room = 0.25 * (np.ptp(means) or abs(means.max()) or 1)
    axes.set_ylim(means.min() - room, means.max() + room)


def _label_bubbles(axes: "Axes", points: np.ndarray, radii: np.ndarray, names: Sequence[str]) -> None:
    """Puts each name beside its bubble, where it hides no other bubble or name if there is such a place."""
    centres = axes.transData.transform(points)
    taken = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(centres, radii, strict=True)]
    frame = axes.get_window_extent().extents
    for i, name in enumerate(names):
        (x, y), reach = centres[i], radii[i] + 5
        places = [
            (x + reach, y, "left"),
            (x - reach, y, "right"),
            (x, y + reach + 4, "center"),
            (x, y - reach - 4, "center"),
        ]
        places += [(at, up + step, side) for step in (14, -14, 28, -28) for at, up, side in places[:2]]
        others = [box for j, box in enumerate(taken) if j != i]
        boxes = [_text_box(*place, len(name)) for place in places]
        costs = [_outside(box, frame) + sum(_overlap(box, other) for other in others) for box in boxes]
        best = int(np.argmin(costs))
        taken.append(boxes[best])
        at, up, side = places[best]
        axes.text(*axes.transData.inverted().transform((at, up)), name, va="center", ha=side, parse_math=False)


def _text_box(at: float, up: float, side: str, length: int) -> tuple[float, float, float, float]:
    """About what a text covers, in points: left, bottom, right, top."""
    wide = 5.4 * length
    left = at - {"left": 0, "center": wide / 2, "right": wide}[side]
    return left, up - 6, left + wide, up + 6


def _outside(box: Sequence[float], frame: Sequence[float]) -> float:
    return 12 * (max(0, frame[0] - box[0]) + max(0, box[2] - frame[2]))


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
