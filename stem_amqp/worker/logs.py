"""Log records that say which task they come from."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from stem_amqp.clock import timestamp
from stem_amqp.settings import LogFormat
from stem_amqp.worker.context import current_or_none

FIELDS = ("task_id", "task_name", "task_attempt", "request_id")
"""What a record says of the task that it comes from."""
_Factory = Callable[..., logging.LogRecord]
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Attributes(dict[str, Any]):
    """A record's attributes, of which ``extra`` may replace those of the task.

    The standard library refuses an ``extra`` by a name that is among the attributes: a task that logs
    ``extra={"task_id": …}`` would fail with a KeyError. So it does not find them here, and sets its own.
    """

    def __contains__(self, name: object) -> bool:
        return name not in FIELDS and super().__contains__(name)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)  # whoever gets a pickled record needs nothing of this


def current_fields() -> dict[str, Any]:
    """Return `FIELDS` of the task that is running here; all are None outside of one."""
    context = current_or_none()
    if context is None:
        return dict.fromkeys(FIELDS)
    values = (context.id, context.task, context.attempt, context.meta.get("request_id"))
    return dict(zip(FIELDS, values, strict=True))


class _Blocks:
    """The blocks of `task_fields` that are open in this process, which share one record factory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._before: _Factory = logging.LogRecord

    def enter(self) -> None:
        """Set the factory for the first of them."""
        with self._lock:
            if self._open == 0:
                self._before = logging.getLogRecordFactory()
                logging.setLogRecordFactory(_with_fields(self._before))
            self._open += 1

    def leave(self) -> None:
        """Set back the one from before after the last, in whatever order they end."""
        with self._lock:
            self._open -= 1
            if self._open == 0:
                logging.setLogRecordFactory(self._before)


_blocks = _Blocks()


@contextmanager
def task_fields() -> Iterator[None]:
    """Give every log record the fields of the task that it comes from, for a block.

    They are None outside of a task, and what the call gives as ``extra`` comes before them. The record
    factory that was there before is called first, and is back when the last block of the process ends.
    """
    _blocks.enter()
    try:
        yield
    finally:
        _blocks.leave()


def _with_fields(before: _Factory) -> _Factory:
    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        given = vars(record)
        # Another factory may know the request better
        known = {"request_id": given["request_id"]} if given.get("request_id") else {}
        record.__dict__ = _Attributes({**given, **current_fields(), **known})
        return record

    return factory


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


def data_of(record: logging.LogRecord, formatter: logging.Formatter) -> dict[str, Any]:
    """Return a record as named values: the standard ones, then ``extra``, then the traceback."""
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
        data["exception"] = formatter.formatException(record.exc_info)
    return data


class JsonFormatter(logging.Formatter):
    """One JSON object a line; ``extra`` values are fields of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        data = data_of(record, self)
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
