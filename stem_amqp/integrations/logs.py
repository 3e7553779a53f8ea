"""Task and request in log records, in processes that set up their logging themselves.

A worker's records have the fields already, whatever writes them; its own lines are text or JSON by
``STEM_LOG_FORMAT``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import MutableMapping
from typing import Any

from stem_amqp.integrations.request_id import request_id
from stem_amqp.worker.logs import FIELDS, JsonFormatter, current_fields, data_of

__all__ = ["FIELDS", "JsonFormatter", "KeyValueFormatter", "TaskFilter", "add_task_fields"]

_PLAIN = re.compile(r'[^\s"=\\]+')
"""What needs no quotes."""


class TaskFilter(logging.Filter):
    """Gives records ``task_id``, ``task_name``, ``task_attempt`` and ``request_id``; it drops none.

    For a handler, since a logger's filter does not see the records of loggers below it. They are None
    outside of a task or a request; what a record has already stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields."""
        for name, value in _fields().items():
            if getattr(record, name, None) is None:
                setattr(record, name, value)
        return True


class KeyValueFormatter(logging.Formatter):
    """One line of ``key=value`` pairs: time, level, logger, message, then ``extra`` values.

    A value with spaces, quotes or line ends is written as a JSON string, so a record is always one
    line. None is left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        pairs = data_of(record, self).items()
        return " ".join(f"{name}={_written(value)}" for name, value in pairs)


def add_task_fields(
    logger: Any,  # noqa: ARG001 - structlog gives three
    method: str,  # noqa: ARG001
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Add the fields of task and request to an event: a processor for structlog.

    ``structlog.configure(processors=[add_task_fields, …])``. Those that are None are left out, and what
    is bound by the same name stays.

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
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
