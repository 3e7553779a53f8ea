"""A member as bytes: a line of JSON, and the bytes of its value unchanged after that."""

from __future__ import annotations

from typing import Any

import orjson

from stem_amqp.results.groups.model import MemberRecord, MemberReport
from stem_amqp.results.records import writable
from stem_amqp.states import TaskState

UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What `decode` raises for bytes that are not a member."""


def encode(report: MemberReport) -> bytes:
    """Encode a member."""
    fields: dict[str, Any] = {
        "i": report.index,
        "state": report.state.value,
        "task": writable(report.task_id),
    }
    if report.error is not None:
        fields["error"] = writable(report.error)
    line = orjson.dumps(fields)
    return line if report.value is None else b"%b\n%b" % (line, report.value)


def decode(data: bytes) -> MemberRecord:
    """Decode a member.

    Raises:
        ValueError: the bytes are not a member; see also `UNREADABLE`.
    """
    line, separator, value = data.partition(b"\n")
    fields = orjson.loads(line)
    index, task_id, error = fields["i"], fields["task"], fields.get("error")
    if type(index) is not int or not isinstance(task_id, str):
        raise ValueError(f"the member {index!r:.80} has the task {task_id!r:.80}")
    if not isinstance(error, str | None):
        raise ValueError(f"error is {error!r:.80}")  # noqa: TRY004 - the stored value is wrong
    return MemberRecord(
        index=index,
        task_id=task_id,
        state=TaskState(fields["state"]),
        value=value if separator else None,
        error=error,
    )
