"""Plots of experiments with several seeds, as SVG: differences with intervals, and curves of training."""

from collections.abc import Mapping, Sequence

import numpy as np

from iassf_jax.report.effects import Effect
from iassf_jax.report.plots import FAINT, INK, figure_of, label, name_lines, style, svg_of

_COLOURS = {"better": "#009e73", "worse": "#d55e00", "within the noise": "#8b919b"}
_COLUMNS = 4
_FAR = 4  # times the usual reach of intervals

Curve = tuple[Sequence[float], Sequence[float]]
"""Steps, and a value at each."""


def intervals(effects: Sequence[Effect]) -> str:
    """A metric's differences from the base: a dot and an interval each, from top to bottom.

    One that lies far beyond the others is an arrow with its value.

    Args:
        effects: of one metric; that of the base is left out.

    Returns:
        An SVG file.
    """
    drawn = [effect for effect in effects if effect.verdict != "base"]
    with style():
        figure = figure_of(4.4, 0.55 + 0.22 * max(1, len(drawn)))
        axes = figure.add_subplot()
        axes.axvline(0, color=INK, linewidth=0.8)
        edge = _edge(drawn)
        for i, effect in enumerate(drawn):
            colour = _COLOURS[effect.verdict]
            if abs(effect.difference) > edge:
                right = effect.difference > 0
                words = f"{effect.difference:.2g} \u2192" if right else f"\u2190 {effect.difference:.2g}"
                where = {"ha": "right" if right else "left", "va": "center"}
                axes.text(edge if right else -edge, i, words, color=colour, fontsize=8, **where)
                continue
            axes.plot([effect.low, effect.high], [i, i], color=colour, linewidth=1.4, solid_capstyle="round")
            axes.plot(effect.difference, i, "o", color=colour, markersize=4)
        if np.isfinite(edge):
            axes.set_xlim(-edge, edge)
        name_lines(axes, [effect.row for effect in drawn])
        return svg_of(figure)


def _edge(drawn: Sequence[Effect]) -> float:
    """Where the axis ends, if some differences lie far beyond the others, so that these can be told; else infinity."""
    if not drawn:
        return np.inf
    reach = np.array([np.nanmax(np.abs([effect.difference, effect.low, effect.high])) for effect in drawn])
    far = np.abs([effect.difference for effect in drawn]) > _FAR * np.median(reach)
    edge = 1.05 * float(reach[~far].max())
    return edge if far.any() and edge > 0 else np.inf


def small_multiples(curves: Mapping[str, Sequence[Curve]], base: str, what: str) -> str:
    """How a value grew in training: a panel a row with a line a seed, those of the base behind them.

    Args:
        curves: row -> a curve a seed.
        base: the row that stands behind every other.
        what: the value's name.

    Returns:
        An SVG file.
    """
    lines = -(-len(curves) // _COLUMNS)
    with style():
        figure = figure_of(9, 0.4 + 1.5 * lines)
        panels = figure.subplots(lines, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, (row, runs) in zip(panels, curves.items(), strict=False):
            for steps, values in curves.get(base, ()):
                panel.plot(steps, values, color=FAINT, linewidth=1.6)
            for steps, values in runs:
                panel.plot(steps, values, color="#0072b2", linewidth=0.9)
            panel.set_title(label(row), fontsize=8, loc="left", parse_math=False)
            panel.grid(color=FAINT, linewidth=0.4)
            panel.tick_params(length=0, labelsize=7)
        for panel in panels[len(curves) :]:
            panel.set_visible(False)
        low = [values[len(values) // 4] for runs in curves.values() for _, values in runs if len(values) > 3]
        high = [max(values) for runs in curves.values() for _, values in runs if len(values)]
        if low and np.ptp([*low, *high]):  # what comes first is far below, and tells nothing
            panels[0].set_ylim(min(low) - 0.05 * (max(high) - min(low)), max(high) + 0.05 * (max(high) - min(low)))
        figure.supxlabel("steps", fontsize=8)
        figure.supylabel(what, fontsize=8)
        return svg_of(figure)
