"""``stem-amqp result``: the state and result of a task.

``--json`` prints an object: ``id``, ``task``, ``queue``, ``state``, ``attempt``, ``replay``,
``created_at``, ``updated_at``, ``next_run`` (ISO 8601), ``worker``, ``result``, ``reason``,
``error``, ``traceback``, ``meta``, ``progress`` (``fraction``, ``message``, ``data``, ``at``).
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import ago, format_time, show, show_error, show_json
from stem_amqp.cli.record_view import document, progress_text, state_text
from stem_amqp.cli.session import store_of
from stem_amqp.cli.task_id import whole_id
from stem_amqp.results.model import TaskRecord
from stem_amqp.results.unreadable import SKIPPED
from stem_amqp.states import TaskState
from stem_amqp.text import indented, json_text, one_line, redacted

app = opt.command_app()


@app.command("result", epilog=EPILOG)
def result_command(
    *,
    task_id: opt.TaskId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the task has ended.")] = False,
    timeout: opt.WaitTimeout = None,
    application: opt.AppOption = None,
    as_json: opt.Json = False,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Show the state, result, error and progress of a task. `stem-amqp results` lists tasks.

    It reads the result backend, so STEM_BACKEND_URL must be that of the workers. The exit code is 1 if
    the task ended without a result, or if the backend has no record of it.
    """
    stem = load(application, opt.Overrides(backend_url=backend_url, namespace=namespace))
    record = asyncio.run(_ask(stem, task_id, wait=wait or timeout is not None, timeout=timeout))
    if record is None and (problem := SKIPPED.problems.get(task_id)) is not None:
        show_error(
            f"the stored record of task {task_id} cannot be read: {problem}\n"
            "  Another program has written or changed it. A worker that stores the task's next state"
            " replaces it."
        )
        raise typer.Exit(ExitCode.NO)
    if record is None:
        show_error(
            f"there is no record of task {task_id} in"
            f" {redacted(stem.settings.backend_url.get_secret_value())}\n"
            "  Its record may have expired, or the workers write to another backend"
            " (STEM_BACKEND_URL)."
        )
        raise typer.Exit(ExitCode.NO)
    if as_json:
        show_json(document(record))
    else:
        _show(record)
    failed = record.state.final and record.state is not TaskState.SUCCEEDED
    raise typer.Exit(ExitCode.NO if failed else ExitCode.OK)


async def _ask(stem: Stem, task_id: str, *, wait: bool, timeout: float | None) -> TaskRecord | None:
    or_else = "; or wait for the result where\n  the task is enqueued: stem-amqp enqueue … --wait"
    async with store_of(stem, or_else=or_else) as backend:
        task_id = await whole_id(backend, task_id)
        return await (backend.wait(task_id, timeout) if wait else backend.get(task_id))


def _show(record: TaskRecord) -> None:
    now = time.time()
    facts: dict[str, str | Text | None] = {
        "state": state_text(record.state),
        "reason": record.reason,
        "error": record.error,
        "result": None if record.result is None else record.result.decode("utf-8", "replace"),
        "progress": None if record.progress is None else progress_text(record.progress, now),
        "next run": None if record.next_run is None else ago(record.next_run, now),
        "attempt": str(record.attempt),
        "replays": str(record.replay) if record.replay else None,
        "queue": record.queue,
        "created": f"{format_time(record.created_at)} ({ago(record.created_at, now)})",
        "updated": f"{format_time(record.updated_at)} ({ago(record.updated_at, now)})",
        "worker": record.worker,
        "meta": json_text(dict(record.meta)) if record.meta else None,
    }
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for name, fact in facts.items():
        if fact is not None:
            lines.add_row(name, fact)
    show(Text.assemble((one_line(record.task), "bold"), "  ", one_line(record.task_id)))
    show(lines)
    if record.traceback:
        show("")
        show("    " + indented(record.traceback.rstrip(), "    "))
