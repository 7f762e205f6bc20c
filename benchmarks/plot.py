"""A horizontal bar chart as SVG, in colours that can be read on white and on black."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.figure import Figure
from benchmarks.number import text

WIDTH = 840
LABELS = 340
BARS = 360
ROW = 24
TOP = 40
GREY, BLUE, ORANGE = "#767c84", "#3b82f6", "#e07b00"
SOLID, DASHED = "", ' stroke-dasharray="3 2"'
STYLE = f"text {{ font: 13px system-ui, sans-serif; fill: {GREY} }} .title {{ font-weight: 600 }}"


def render(title: str, figures: Sequence[Figure], *, logarithmic: bool = False) -> str:
    """A bar for each figure, as long as its median; a mark where it must be at least, or at most, and a dashed one for
    the aim. What could not be measured has no bar."""
    values = [bound for each in figures for bound in (*each.samples, each.least, each.aim) if bound is not None]
    scale = _Scale(values, logarithmic)
    height = TOP + ROW * (len(figures) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="8" y="20">{escape(title)}</text>',
    ]
    for index, figure in enumerate(figures):
        parts += _bar(figure, TOP + index * ROW, scale)
    parts += _legend(figures, TOP + len(figures) * ROW, logarithmic)
    return "\n".join([*parts, "</svg>", ""])


class _Scale:
    """From values to lengths. A logarithmic one begins at the power of ten below the least value."""

    def __init__(self, values: Sequence[float], logarithmic: bool) -> None:
        above_zero = [value for value in values if value > 0]
        self._logarithmic = logarithmic and bool(above_zero)
        self._most = max(above_zero, default=1.0)
        self._least = 10.0 ** math.floor(math.log10(min(above_zero))) if self._logarithmic else 0.0
        if self._logarithmic and self._most == self._least:
            self._least /= 10

    def length(self, value: float) -> float:
        if not self._logarithmic:
            return BARS * max(value, 0.0) / self._most
        if value <= self._least:
            return 0.0
        return BARS * math.log(value / self._least) / math.log(self._most / self._least)


def _bar(figure: Figure, y: int, scale: _Scale) -> list[str]:
    label = f'<text x="{LABELS - 8}" y="{y + 16}" text-anchor="end">{escape(figure.name)}</text>'
    if not figure.samples:
        return [label, f'<text x="{LABELS + 4}" y="{y + 16}">not measured</text>']
    length = scale.length(figure.value)
    marks = [(figure.least, SOLID), (figure.aim, DASHED)]
    return [
        label,
        f'<rect x="{LABELS}" y="{y + 3}" width="{length:.1f}" height="{ROW - 8}" rx="2" fill="{BLUE}"/>',
        *(_mark(LABELS + scale.length(bound), y, dashes) for bound, dashes in marks if bound is not None),
        f'<text x="{LABELS + BARS + 8}" y="{y + 16}">{text(figure.value)} {escape(figure.unit)}</text>',
    ]


def _mark(x: float, y: int, dashes: str) -> str:
    return f'<path d="M{x:.1f} {y}v{ROW - 2}" stroke="{ORANGE}" stroke-width="2"{dashes}/>'


def _legend(figures: Sequence[Figure], y: int, logarithmic: bool) -> list[str]:
    parts = [f'<text x="{LABELS + BARS + 8}" y="{y + 16}">logarithmic</text>'] if logarithmic else []
    x = LABELS
    for bounds, words, dashes in (
        ([each.least for each in figures], "must be reached", SOLID),
        ([each.aim for each in figures], "aim", DASHED),
    ):
        if any(bound is not None for bound in bounds):
            parts += [_mark(x, y, dashes), f'<text x="{x + 8}" y="{y + 16}">{words}</text>']
            x += 140
    return parts
