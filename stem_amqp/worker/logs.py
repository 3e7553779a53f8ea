"""Log records that say which task they come from."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from stem_amqp.clock import timestamp
from stem_amqp.settings import LogFormat
from stem_amqp.worker.context import current_or_none

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextmanager
def task_fields() -> Iterator[None]:
    """Give every log record ``task_id``, ``task_name`` and ``task_attempt`` for a block.

    They are None outside of a task. The record factory that was there before is called first, and
    is back at the end.
    """
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        context = current_or_none()
        record.task_id = context.id if context else None
        record.task_name = context.task if context else None
        record.task_attempt = context.attempt if context else None
        return record

    logging.setLogRecordFactory(factory)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)


class TextFormatter(logging.Formatter):
    """One line for people; a task's records name the task, its id and its attempt."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the line."""
        line = super().formatMessage(record)
        task_id = getattr(record, "task_id", None)
        if task_id is None:
            return line
        return f"{line} [{record.task_name} {task_id} #{record.task_attempt}]"  # type: ignore[attr-defined]


class JsonFormatter(logging.Formatter):
    """One JSON object a line; ``extra`` values are fields of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        data: dict[str, Any] = {
            "at": timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        data.update(
            (name, value)
            for name, value in vars(record).items()
            if name not in _STANDARD and value is not None
        )
        if record.exc_info:
            data["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(level: str, log_format: LogFormat) -> None:
    """Write the root logger's records to standard error; for the ``worker`` command.

    Args:
        level: such as ``INFO``.
        log_format: text or JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("aio_pika", "aiormq"):
        # The transport reports what it heals in its own words
        logging.getLogger(noisy).setLevel(max(logging.ERROR, logging.getLevelName(level)))
