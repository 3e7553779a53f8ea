"""The command line: ``python -m bench``, or ``make bench ARGS='…'``."""

from __future__ import annotations

import argparse
import signal
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench import contenders
from bench.cases import CASES
from bench.contender import Contender
from bench.machine import Conditions, conditions
from bench.report.document import document
from bench.report.markdown import markdown
from bench.report.svg import svg
from bench.report.table import show
from bench.report.words import gist, number
from bench.runner import Plan, run
from bench.samples import Row, Sample, rows
from stem_amqp.servers.finder import find_server
from stem_amqp.servers.rabbitmq.kind import RABBITMQ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.cases.base import Case

QUICK_CASES = "enqueue,enqueue-many,drain"
QUICK_SCALE = 0.02


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    made = argparse.ArgumentParser(prog="bench", description="Measure stem-amqp and its peers.")
    made.add_argument("--cases", help=f"patterns, by commas: {', '.join(CASES)}")
    made.add_argument("--contenders", default=",".join(contenders.NAMES), help="names, by commas")
    made.add_argument("--rounds", type=int, default=5, help="rounds, at most (default: 5)")
    made.add_argument("--scale", type=float, default=1.0, help="times the documented sizes")
    made.add_argument("--quick", action="store_true", help="a smoke run: one small round")
    made.add_argument("--json", type=Path, metavar="FILE", help="everything, raw samples too")
    made.add_argument("--svg", type=Path, metavar="FILE", help="a chart of the rates")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="tables for the docs")
    return made


def chosen(patterns: str | None) -> list[Case]:
    """Return the cases that are asked for; without patterns, all that do not wait to be asked.

    Args:
        patterns: globs, separated by commas.

    Raises:
        SystemExit: a pattern fits none.
    """
    if patterns is None:
        return [case for case in CASES.values() if not case.asked]
    found: dict[str, Case] = {}
    for pattern in patterns.split(","):
        fitting = {name: case for name, case in CASES.items() if fnmatchcase(name, pattern)}
        if not fitting:
            raise SystemExit(f"no case is called {pattern!r}: there are {', '.join(CASES)}")
        found |= fitting
    return list(found.values())


def taking_part(names: str) -> list[Contender]:
    """Return the contenders that are asked for.

    Args:
        names: separated by commas.

    Raises:
        SystemExit: there is none of that name.
    """
    for name in names.split(","):
        if name not in contenders.NAMES:
            known = ", ".join(contenders.NAMES)
            raise SystemExit(f"no contender is called {name!r}: there are {known}")
    return [contenders.load(name) for name in names.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and report; Ctrl-C and SIGTERM report what there is.

    Returns:
        1 if a measurement failed.
    """
    options = parser().parse_args(arguments)
    if options.quick:
        options.cases = options.cases or QUICK_CASES
        options.rounds, options.scale = 1, QUICK_SCALE
    cases, contending = chosen(options.cases), taking_part(options.contenders)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with find_server(RABBITMQ, report=_say) as broker:
        found = conditions(
            contending, broker=broker.version, rounds=options.rounds, scale=options.scale
        )
        plan = Plan(
            url=broker.url,
            cases=cases,
            contenders=contending,
            rounds=options.rounds,
            scale=options.scale,
        )
        samples = _measured(plan, found, options)
    return int(any(sample.error for sample in samples))


def _measured(plan: Plan, found: Conditions, options: argparse.Namespace) -> list[Sample]:
    """Run the plan, and report what was measured, however it ends."""
    samples: list[Sample] = []

    def note(sample: Sample) -> None:
        samples.append(sample)
        _say(_line(sample))

    try:
        run(plan, note)
    except KeyboardInterrupt:
        _say("stopped; this is what there is:")
    finally:
        names = [contender.name for contender in plan.contenders]
        table = rows(samples, plan.cases, names, contenders.BASE)
        show(Console(), found, table, contenders.BASE)
        _write(options, found, table, samples)
    return samples


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _line(sample: Sample) -> str:
    values = ", ".join(f"{key} {number(value, 2)}" for key, value in sample.values.items())
    if sample.error:
        said = f"failed: {gist(sample.error, 200)}"
    else:
        said = values or f"left out: {gist(sample.blank or '')}"
    return f"{sample.case} {sample.round + 1} {sample.contender}: {said}"


def _write(
    options: argparse.Namespace, found: Conditions, table: list[Row], samples: list[Sample]
) -> None:
    base = contenders.BASE
    if options.json:
        options.json.write_text(document(found, table, samples, base))
    if options.svg:
        options.svg.write_text(svg(table, base))
    if options.markdown:
        options.markdown.write_text(markdown(found, table, base))


if __name__ == "__main__":
    sys.exit(main())
