"""Run a command, and report what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, TypeVar

import typer
from rich.console import RenderableType

from stem_amqp.app import Stem
from stem_amqp.cli.control.options import Given
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.output import iso, note, show, show_error, show_json
from stem_amqp.cli.waiting import connected as connected_to
from stem_amqp.control import Answers, CommandKeywords, Control
from stem_amqp.text import count, one_line

T = TypeVar("T")

EPILOG = (
    "Exit codes: 0 every worker has done it, 1 a worker could not, 2 usage or configuration,"
    " 3 broker or backend not reachable, 4 some workers did not answer, 5 refused by the broker,"
    " 6 no worker has answered."
)
"""The last line of the help of each command."""

Command = Callable[[Control, CommandKeywords], Coroutine[Any, Any, Answers[T]]]


def run(
    given: Given,
    command: Command[T],
    view: Callable[[Answers[T]], RenderableType],
    *,
    as_json: bool,
) -> None:
    """Send a command, show the answers, and exit with the code for what came of it.

    Args:
        given: the options.
        command: sends it.
        view: makes the table of its answers.
        as_json: print one JSON document instead.

    Raises:
        StemError: the command cannot be sent.
    """
    stem = given.load()
    answers = asyncio.run(_answers(stem, given.keywords(stem), command))
    if as_json:
        show_json(document(answers))
    elif answers.answers:
        show(view(answers))
    report(stem, answers)
    raise typer.Exit(code_of(answers))


async def _answers(stem: Stem, keywords: CommandKeywords, command: Command[T]) -> Answers[T]:
    async with connected_to(stem, 0.0):
        return await command(stem.control, keywords)


def code_of(answers: Answers[Any]) -> ExitCode:
    """Return the exit code for what came of a command."""
    if answers.stored and answers.complete and not answers.failed:
        return ExitCode.OK
    if not answers.answers:
        return ExitCode.NO_WORKER
    if not answers.complete:
        return ExitCode.TIMED_OUT
    return ExitCode.NO if answers.failed else ExitCode.OK


def report(stem: Stem, answers: Answers[Any]) -> None:
    """Print how many workers answered, and who did not, to standard error."""
    for failed in answers.failed:
        show_error(f"{one_line(failed.worker)}: {failed.error}")
    for one in answers.unanswered:
        show_error(f"{one_line(one.worker)} did not answer: {one_line(one.why)}")
    if answers.silent:
        queues = ", ".join(f"{queue} {number}" for queue, number in answers.silent.items())
        show_error(
            f"consumers whose worker is not known: {queues}\n"
            "  Their workers are of an earlier release, have no heartbeats, or do not reach the broker;"
            " --timeout waits longer."
        )
    done = len(answers.answers) - len(answers.failed)
    if answers.answers:
        note(f"{count(done, 'worker')}: {answers.command}")
    elif answers.complete:
        kept = f"stored in {answers.stored}; " if answers.stored else ""
        note(f"{kept}no worker is up in namespace {stem.names.namespace}")


def document(answers: Answers[Any]) -> dict[str, Any]:
    """Return what came of a command as JSON values."""
    fields = asdict(answers)
    return {**fields, "at": iso(answers.at)}
