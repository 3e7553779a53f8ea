"""``stem-amqp tree``: what has become of a composition.

``--json`` prints an object: ``id`` and ``nodes``. A node has ``id``, ``role`` and ``children``; a task ``task``,
``state``, ``attempt``, ``created_at``, ``updated_at``, ``error`` and ``reason``; a group ``policy``, ``size``, ``done``,
``failed``, ``sealed``, ``omitted`` and ``after``: the ids of the members for which the next one waits.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, ago, iso, note, show, show_error, show_json, table
from stem_amqp.cli.record_view import state_text
from stem_amqp.cli.session import store_of
from stem_amqp.composition.tree import MOST, Tree, TreeNode, read_tree
from stem_amqp.errors import ResultUnavailableError
from stem_amqp.text import one_line

app = opt.command_app()
"""The command."""
_NAME = 40
"""Columns of a task's name with its place in the tree."""


@app.command("tree", epilog=EPILOG)
def tree_command(
    *,
    composition: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            parser=opt.composition_id,
            help="The id of a composition, or of a task of it.",
        ),
    ],
    members: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=10_000, help="Members of a group that are shown one by one."
        ),
    ] = MOST,
    as_json: opt.Json = False,
    application: opt.AppOption = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Show the links and groups of a composition, with states, attempts and times.

    Of a group with more members, those that failed are shown, and its counts. It reads the result backend,
    so STEM_BACKEND_URL must be that of the workers.
    """
    stem = load(application, opt.Overrides(backend_url=backend_url, namespace=namespace))
    try:
        tree = asyncio.run(_read(stem, composition, members))
    except ResultUnavailableError as error:
        show_error(str(error))
        raise typer.Exit(ExitCode.NO) from error
    if as_json:
        show_json({"id": tree.id, "nodes": [_document(node) for node in tree.nodes]})
        return
    show(_view(tree))
    note(f"composition {one_line(tree.id)}")


async def _read(stem: Stem, composition: str, most: int) -> Tree:
    async with store_of(stem, or_else="") as backend:
        return await read_tree(backend, composition, most=most)


def _document(node: TreeNode) -> dict[str, Any]:
    """Return a node as JSON values."""
    base = {"id": node.id, "role": node.role or None}
    children = {"children": [_document(child) for child in node.children]}
    if node.task is None:
        group = node.group
        return {
            **base,
            "policy": node.policy or None,
            "size": node.size,
            "done": 0 if group is None else group.done,
            "failed": 0 if group is None else group.failed,
            "sealed": group is None or group.sealed,
            "omitted": node.omitted,
            "after": list(node.after),
            **children,
        }
    record = node.record
    return {
        **base,
        "task": node.task,
        "state": None if record is None else record.state.value,
        "attempt": None if record is None else record.attempt,
        "created_at": None if record is None else iso(record.created_at),
        "updated_at": None if record is None else iso(record.updated_at),
        "reason": None if record is None else record.reason,
        "error": None if record is None else record.error,
        **children,
    }


def _view(tree: Tree) -> Table:
    lines = table("task", "state", "attempt", "updated", numbers=("attempt",), whole=("task",))
    now = time.time()
    for node in tree.nodes:
        _add(lines, node, "", now)
    return lines


def _add(lines: Table, node: TreeNode, indent: str, now: float, index: str = "") -> None:
    role = f"{node.role}: " if node.role else ""
    if node.task is None:
        kind = f"group of {node.size:,}"
        if node.after:
            kind = f"after {', '.join(one.rpartition('.')[2] for one in node.after)}"
        lines.add_row(_name(f"{indent}{role}{kind}", index), _counts(node), "", "")
    else:
        record = node.record
        name = _name(f"{indent}{role}{node.task}", index)
        if record is None:
            lines.add_row(name, Text("not enqueued", style="dim"), NOTHING, NOTHING)
        else:
            when = ago(record.updated_at, now)
            lines.add_row(name, state_text(record.state), str(record.attempt), when)
            if record.error is not None:
                error = one_line(record.error).splitlines()[0]
                lines.add_row(_name(f"{indent}  {error}"), "", "", "")
    for child in node.children:
        _add(lines, child, f"{indent}  ", now, _index(node, child))
    if node.omitted:
        lines.add_row(Text(f"{indent}  … {node.omitted:,} more", style="dim"), "", "", "")


def _index(node: TreeNode, child: TreeNode) -> str:
    """Return the index of a member in its group, which its id has too; empty for others than its first link."""
    if node.task is not None or child.role or child.after:
        return ""
    return f" #{child.id.removeprefix(f'{node.id}.').partition('.')[0]}"


def _counts(node: TreeNode) -> str:
    group = node.group
    if group is None:
        return "not enqueued"
    failed = f", {group.failed:,} failed" if group.failed else ""
    is_open = "" if group.sealed else ", open"
    return f"{group.done:,} of {group.size:,}{failed}{is_open}"


def _name(text: str, index: str = "") -> str:
    line, most = one_line(text), _NAME - len(index)
    return f"{line if len(line) <= most else f'{line[: most - 1]}…'}{index}"
