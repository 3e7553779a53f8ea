"""Task and request fields in log records, for processes that configure logging themselves.

The handlers of a worker write the fields already; ``STEM_LOG_FORMAT`` selects text or JSON for its
lines.
"""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

from typing_extensions import override

from stem_amqp.integrations.request_id import request_id
from stem_amqp.text import json_text
from stem_amqp.worker.report.logs import (
    FIELDS,
    FieldsFilter,
    JsonFormatter,
    current_fields,
    data_of,
)

__all__ = ["FIELDS", "JsonFormatter", "KeyValueFormatter", "TaskFilter", "add_task_fields"]

_PLAIN = re.compile(r'[^\s"=\\]+')
"""A value that needs no quotes."""


class TaskFilter(FieldsFilter):
    """Add ``task_id``, ``task_name``, ``task_attempt`` and ``request_id`` to records; drop none.

    Add it to a handler: a logger's filter does not see the records of its child loggers. The fields
    are None outside of a task or a request; fields that a record already has are kept.
    """

    @override
    def _fields(self) -> dict[str, Any]:
        return _fields()


class KeyValueFormatter(logging.Formatter):
    """Format a record as one line of ``key=value`` pairs: time, level, logger, message, ``extra``.

    A value with spaces, quotes or line breaks is written as a JSON string, so a record is always one
    line. Values that are None are omitted.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        pairs = data_of(record, self).items()
        return " ".join(f"{name}={_written(value)}" for name, value in pairs)


def add_task_fields(
    logger: Any,  # noqa: ARG001 - structlog passes three
    method: str,  # noqa: ARG001
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Add the fields of task and request to an event: a processor for structlog.

    ``structlog.configure(processors=[add_task_fields, …])``. Fields that are None are omitted, and a
    value bound by the same name is kept.

    Args:
        logger: not used.
        method: not used.
        event: the event's values.

    Returns:
        The event.
    """
    for name, value in _fields().items():
        if value is not None:
            event.setdefault(name, value)
    return event


def _fields() -> dict[str, Any]:
    fields = current_fields()
    if fields["request_id"] is None:
        fields["request_id"] = request_id.get()
    return fields


def _written(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and _PLAIN.fullmatch(text) else json_text(text)
