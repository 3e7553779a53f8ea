"""The chart: a panel of bars for each rate, in colours that fit light and dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from bench.report import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.samples import Cell, Row

WIDTH = 760
_LEFT, _RIGHT = 150, 130
_BAR, _GAP, _TITLE = 18, 6, 40
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .missing { fill: #656d76; font-style: italic; }
  .bar { fill: #8c959f; }
  .base { fill: #1a7f37; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .missing { fill: #8b949e; }
    .bar { fill: #6e7681; }
    .base { fill: #3fb950; }
  }
"""


def svg(rows: Sequence[Row], base: str) -> str:
    """Draw the rows in which more is better; the others stay in the tables.

    Args:
        rows: the figures.
        base: the contender whose bar stands out.
    """
    drawn: list[str] = []
    top = 10
    for row in rows:
        if row.metric.more_is_better:
            drawn += _panel(row, base, top)
            top += _TITLE + len(row.cells) * (_BAR + _GAP) + _GAP
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}"'
        f' height="{top}" role="img" aria-label="Benchmark results">'
    )
    return "\n".join([opening, f"<style>{_STYLE}</style>", *drawn, "</svg>", ""])


def _panel(row: Row, base: str, top: int) -> Iterator[str]:
    title = f"{row.case.title} ({row.metric.unit})"
    yield f'<text class="title" x="10" y="{top + 20}">{escape(title)}</text>'
    most = max((cell.median or 0 for cell in row.cells), default=0)
    for position, cell in enumerate(row.cells):
        y = top + _TITLE - 8 + position * (_BAR + _GAP)
        yield from _bar(cell, row, y, most, base=cell.contender == base)


def _bar(cell: Cell, row: Row, y: int, most: float, *, base: bool) -> Iterator[str]:
    middle = y + _BAR - 5
    yield f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(cell.contender)}</text>'
    if cell.median is None or not most:
        why = escape(words.gist(cell.missing or "", 70))
        yield f'<text class="missing" x="{_LEFT}" y="{middle}">{why}</text>'
        return
    length = max(1.0, cell.median / most * (WIDTH - _LEFT - _RIGHT))
    kind = "bar base" if base else "bar"
    yield (
        f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
    )
    said = words.number(cell.median, row.metric.digits)
    if not base and cell.ratio is not None:
        said += f"  ({1 / cell.ratio:.2f})"
    yield f'<text x="{_LEFT + length + 6:.1f}" y="{middle}">{escape(said)}</text>'
