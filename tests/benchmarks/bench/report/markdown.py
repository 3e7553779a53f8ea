"""The tables for the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.machine import Conditions
    from bench.samples import Row


def markdown(found: Conditions, rows: Sequence[Row], base: str) -> str:
    """Write the conditions, and one table a case.

    Args:
        found: what it was measured on.
        rows: the figures.
        base: the contender that ratios refer to.
    """
    lines = [*_conditions(found), *_tables(rows, base)]
    return "\n".join(lines) + "\n"


def _conditions(found: Conditions) -> Iterator[str]:
    yield f"{found.cores} cores, {found.cpu}; {found.system}; Python {found.python}."
    yield f"{found.broker}. Medians of up to {found.rounds} rounds, scale {found.scale:g}."
    yield ", ".join(f"{name} {version}" for name, version in found.versions.items()) + "."
    yield ""
    yield "| contender | how it is made durable |"
    yield "|---|---|"
    for contender, how in found.durability.items():
        yield f"| {contender} | {how} |"


def _tables(rows: Sequence[Row], base: str) -> Iterator[str]:
    titled = ""
    for row in rows:
        if row.case.name != titled:
            titled = row.case.name
            yield f"\n### {row.case.title}\n\n`{titled}`, {row.size:,} tasks, {_load(row)}"
        yield ""
        yield f"| {row.metric.title} | {row.metric.unit} | from-to | {base} is better by factor |"
        yield "|---|--:|--:|--:|"
        for cell in row.cells:
            if cell.median is None:
                why = words.gist(cell.missing or "").replace("|", "\\|")
                yield f"| {cell.contender} | | {why} | |"
            else:
                median = words.number(cell.median, row.metric.digits)
                figures = (cell.contender, median, words.spread(cell, row), words.ratio(cell))
                yield f"| {' | '.join(figures)} |"


def _load(row: Row) -> str:
    processes = f"{row.case.processes} processes" if row.case.processes > 1 else "one process"
    return f"{processes}, {row.case.concurrency} at once."
