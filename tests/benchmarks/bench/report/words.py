"""How figures are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.samples import Cell, Row


def number(value: float, digits: int) -> str:
    """Write a number with a thousands separator."""
    return f"{value:,.{digits}f}"


def ratio(cell: Cell) -> str:
    """Write how many times better the base is, such as ``x2.1``, or nothing."""
    return "" if cell.ratio is None else f"x{cell.ratio:.2f}"


def spread(cell: Cell, row: Row) -> str:
    """Write the smallest and the largest of the rounds, or nothing."""
    if cell.low is None or cell.high is None or cell.low == cell.high:
        return ""
    digits = row.metric.digits
    return f"{number(cell.low, digits)}-{number(cell.high, digits)}"


def gist(text: str, limit: int = 90) -> str:
    """Return the first line of a reason, cut to a length."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= limit else line[: limit - 1] + "…"
