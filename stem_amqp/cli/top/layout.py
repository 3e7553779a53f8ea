"""Lines of text with columns: as wide as the terminal, and never wider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.cells import cell_len
from rich.text import Text

from stem_amqp.text import one_line

Cell: TypeAlias = str | Text
_GAP = 2
_BARS = " ▁▂▃▄▅▆▇█"
_ASCII_BARS = " .:-=+*#@"
_LONGEST = 500
"""The most characters of a cell."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        title: its heading.
        least: its least width; it has this width also if its cells are shorter.
        most: its greatest width.
        right: whether it is aligned to the right.
        rank: columns with a higher rank are left out first where the width is too small; 0 never.
    """

    title: str
    least: int
    most: int
    right: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a frame.

    Args:
        width: columns of the terminal.
        height: lines; None for as many as there are.
        unicode: whether the output can encode every character.
    """

    width: int
    height: int | None = None
    unicode: bool = True


def table(columns: Sequence[Column], cells: Sequence[Sequence[Cell]], size: Size) -> list[Text]:
    """Return the heading and a line for each row.

    Columns are made narrower, and then left out by their rank, until all fits.

    Args:
        columns: the columns.
        cells: the cells of each row.
        size: the frame.
    """
    widths = _fitted(columns, cells, size.width)
    shown = [number for number, width in enumerate(widths) if width]
    heading: list[Cell] = [Text(column.title, style="bold") for column in columns]
    lines = []
    for row in [heading, *cells]:
        line = Text(no_wrap=True, end="")
        for number in shown:
            if line:
                line.append(" " * _GAP)
            line.append_text(_cell(row[number], widths[number], columns[number].right, size))
        line.rstrip()
        lines.append(fitted(line, size))
    return lines


def fitted(text: Cell, size: Size) -> Text:
    """Return a text in one line that is not wider than the frame."""
    line = text.copy() if isinstance(text, Text) else Text(one_line(text, _LONGEST))
    line.no_wrap, line.end = True, "\n"
    line.truncate(size.width, overflow="ellipsis" if size.unicode else "crop")
    return line


def sparkline(values: Sequence[float], length: int, size: Size) -> str:
    """Return the last values as bars; the highest one has the full height.

    Args:
        values: the values, the oldest first.
        length: characters.
        size: the frame.
    """
    bars = _BARS if size.unicode else _ASCII_BARS
    last = values[-length:]
    highest = max(last, default=0.0)
    steps = len(bars) - 1
    drawn = "".join(
        bars[1 if value <= 0 else min(steps, 1 + round((steps - 1) * value / highest))]
        for value in last
    )
    return drawn.rjust(length)


def _cell(cell: Cell, width: int, right: bool, size: Size) -> Text:
    text = cell.copy() if isinstance(cell, Text) else Text(one_line(cell, _LONGEST))
    text.truncate(width, overflow="ellipsis" if size.unicode else "crop")
    text.align("right" if right else "left", width)
    return text


def _fitted(columns: Sequence[Column], cells: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the width of each column; 0 leaves it out."""
    widths = [_natural(column, [row[i] for row in cells]) for i, column in enumerate(columns)]
    while _total(widths) > width:
        spare = [w - column.least if w else 0 for w, column in zip(widths, columns, strict=True)]
        excess = _total(widths) - width
        if sum(spare) >= excess:
            return _shrunk(widths, spare, excess)
        ranked = [i for i, column in enumerate(columns) if column.rank and widths[i]]
        if not ranked:
            return _shrunk(widths, spare, sum(spare))
        widths[max(ranked, key=lambda i: columns[i].rank)] = 0
    return widths


def _shrunk(widths: list[int], spare: list[int], excess: int) -> list[int]:
    """Make the columns with the most spare width narrower."""
    widths, spare = list(widths), list(spare)
    for _ in range(excess):
        largest = max(range(len(spare)), key=spare.__getitem__)
        widths[largest] -= 1
        spare[largest] -= 1
    return widths


def _natural(column: Column, cells: Sequence[Cell]) -> int:
    texts = (cell.plain if isinstance(cell, Text) else one_line(cell, _LONGEST) for cell in cells)
    longest = max(map(cell_len, texts), default=0)
    return max(column.least, len(column.title), min(column.most, longest))


def _total(widths: Sequence[int]) -> int:
    shown = [width for width in widths if width]
    return sum(shown) + _GAP * (len(shown) - 1)
