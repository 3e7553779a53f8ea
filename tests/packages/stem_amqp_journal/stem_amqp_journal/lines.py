"""What a line says: a call of the backend, its time, and its arguments as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from stem_amqp.results.base import MemberReport, Progress, ProgressUpdate, Transition
from stem_amqp.states import TaskState

CALLS = frozenset(
    {
        "transition",
        "report_progress",
        "create_group",
        "expand_group",
        "seal_group",
        "report_members",
        "claim_group",
        "claim_key",
        "keep_key",
        "swap_key",
        "release_key",
        "purge_expired",
    }
)
"""The methods of the backend that change something."""


def written(call: str, at: float, arguments: dict[str, Any]) -> bytes:
    """Return the line of a call.

    Args:
        call: a method of the backend that changes something.
        at: seconds since the epoch.
        arguments: those of the call.
    """
    if call == "transition":
        arguments = {"changes": [_change(change) for change in arguments["changes"]]}
    elif call == "report_progress":
        arguments = {"updates": [_update(update) for update in arguments["updates"]]}
    elif call == "create_group":
        arguments |= {"plan": _text(arguments["plan"])}
    elif call == "report_members":
        arguments = {"reports": [_report(report) for report in arguments["reports"]]}
    elif call == "keep_key":
        arguments |= {"value": _text(arguments["value"])}
    elif call == "swap_key":
        arguments |= {name: _text(arguments[name]) for name in ("expected", "value")}
    return json.dumps([call, at, arguments]).encode()


def read(line: bytes) -> tuple[str, float, dict[str, Any]]:
    """Return the call that a line says, its time, and its arguments."""
    call, at, arguments = json.loads(line)
    if call not in CALLS or not isinstance(at, int | float):
        raise ValueError(f"no change is called {call!r}")
    if call == "transition":
        arguments = {"changes": [_read_change(fields) for fields in arguments["changes"]]}
    elif call == "report_progress":
        arguments = {"updates": [_read_update(fields) for fields in arguments["updates"]]}
    elif call == "create_group":
        arguments |= {"plan": _bytes(arguments["plan"])}
    elif call == "report_members":
        arguments = {"reports": [_read_report(fields) for fields in arguments["reports"]]}
    elif call == "keep_key":
        arguments |= {"value": _bytes(arguments["value"])}
    elif call == "swap_key":
        arguments |= {name: _bytes(arguments[name]) for name in ("expected", "value")}
    return call, at, arguments


def _change(change: Transition) -> dict[str, Any]:
    return asdict(change) | {"result": _text(change.result), "meta": dict(change.meta)}


def _read_change(fields: dict[str, Any]) -> Transition:
    state, result = TaskState(fields.pop("state")), _bytes(fields.pop("result"))
    return Transition(state=state, result=result, **fields)


def _report(report: MemberReport) -> dict[str, Any]:
    return asdict(report) | {"value": _text(report.value)}


def _read_report(fields: dict[str, Any]) -> MemberReport:
    state, value = TaskState(fields.pop("state")), _bytes(fields.pop("value"))
    return MemberReport(state=state, value=value, **fields)


def _update(update: ProgressUpdate) -> dict[str, Any]:
    progress = update.progress
    fields = {"fraction": progress.fraction, "message": progress.message, "at": progress.at}
    return {
        "task_id": update.task_id,
        "ttl": update.ttl,
        "progress": fields | {"data": _plain(progress.data)},
    }


def _read_update(fields: dict[str, Any]) -> ProgressUpdate:
    return ProgressUpdate(progress=Progress(**fields.pop("progress")), **fields)


def _plain(data: Any) -> Any:
    """Return a task's own data as JSON can carry it: it is for information, and stops nothing."""
    try:
        return json.loads(json.dumps(data, default=repr))
    except (TypeError, ValueError, RecursionError):
        return None


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("latin-1")  # each byte is one character


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")
