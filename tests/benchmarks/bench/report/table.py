"""The table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from bench.report import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.machine import Conditions
    from bench.samples import Row


def head(found: Conditions) -> Group:
    """Lay out the conditions."""
    grid = Table.grid(padding=(0, 2))
    grid.add_row("machine", f"{found.cores} cores, {found.cpu}; {found.system}")
    grid.add_row("broker", found.broker)
    grid.add_row("Python", found.python)
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    grid.add_row("versions", versions)
    grid.add_row("rounds", f"{found.rounds} at most, scale {found.scale:g}; medians")
    for contender, how in found.durability.items():
        grid.add_row(contender, how)
    return Group(grid, "")


def table(rows: Sequence[Row], base: str) -> Table:
    """Lay out the figures.

    Args:
        rows: what to show.
        base: the contender that ratios refer to.
    """
    laid = Table(title=f"Medians; x says how many times better {base} is")
    laid.add_column("case", overflow="fold")
    laid.add_column("contender")
    for title in ("median", "lowest-highest", "ratio"):
        laid.add_column(title, justify="right")
    for row in rows:
        heading = f"{row.case.name} ({row.size:,}): {row.metric.title}, {row.metric.unit}"
        for cell in row.cells:
            if cell.median is None:
                figures: list[str | Text] = [
                    Text(words.gist(cell.missing or "", 40), style="dim"),
                    "",
                    "",
                ]
            else:
                median = words.number(cell.median, row.metric.digits)
                figures = [median, words.spread(cell, row), words.ratio(cell)]
            laid.add_row(heading, cell.contender, *figures)
            heading = ""
        laid.add_section()
    return laid


def show(console: Console, found: Conditions, rows: Sequence[Row], base: str) -> None:
    """Print everything."""
    console.print(head(found), table(rows, base))
