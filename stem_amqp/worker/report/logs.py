"""Log records with the fields of the task that wrote them."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from typing_extensions import override

from stem_amqp.clock import timestamp
from stem_amqp.context.batch import batch_or_none
from stem_amqp.context.context import current_or_none
from stem_amqp.settings import LogFormat
from stem_amqp.text import indented, json_text, one_line, without_secrets
from stem_amqp.worker.running.failure import traceback_of

FIELDS = ("task_id", "task_name", "task_attempt", "request_id")
"""The fields of a record about the task that wrote it."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def current_fields() -> dict[str, Any]:
    """Return `FIELDS` of the task that is running here; all are None outside of a task.

    The function of a batch task has the name only.
    """
    context = current_or_none()
    if context is None:
        batch = batch_or_none()
        # Its messages have ids and attempts of their own
        name = {"task_name": batch[0].task} if batch else {}
        return {**dict.fromkeys(FIELDS), **name}
    values = (context.id, context.task, context.attempt, context.meta.get("request_id"))
    return dict(zip(FIELDS, values, strict=True))


class FieldsFilter(logging.Filter):
    """Adds `FIELDS` to records; passes every record, and keeps the fields that it has already."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        given = vars(record)
        fields = self._fields()
        given.update((name, value) for name, value in fields.items() if given.get(name) is None)
        return True

    def _fields(self) -> dict[str, Any]:
        return current_fields()


class _Handlers:
    """The handlers of this process, which share one filter while a block of `task_fields` is open.

    A handler's filter runs after ``extra`` has become attributes of the record, so a call may use
    the names of the fields. A record factory runs before that: the standard library would refuse
    the ``extra``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._filter = FieldsFilter()
        self._filtered: WeakSet[logging.Handler] = WeakSet()
        self._open = 0

    def enter(self) -> None:
        """Begin a block: add the filter to all existing handlers."""
        with self._lock:
            self._open += 1
            self._cover()

    def leave(self) -> None:
        """End a block: remove the filter if no other block is open."""
        with self._lock:
            self._open -= 1
            if self._open == 0:
                for handler in self._filtered:
                    handler.removeFilter(self._filter)
                self._filtered.clear()

    def cover_new(self) -> None:
        """Add the filter to new handlers, if a block is open."""
        with self._lock:
            if self._open:
                self._cover()

    def _cover(self) -> None:
        loggers = (logging.root, *list(logging.root.manager.loggerDict.values()))
        for logger in loggers:
            if isinstance(logger, logging.Logger):  # not a PlaceHolder
                self._filtered.update(logger.handlers)
        if logging.lastResort is not None:
            self._filtered.add(logging.lastResort)
        for handler in self._filtered:
            handler.addFilter(self._filter)


_handlers = _Handlers()


@contextmanager
def task_fields() -> Iterator[None]:
    """Add the fields of the running task to the records that handlers write, for a block.

    They are None outside of a task. Values of the call's ``extra`` and of a record factory take
    precedence.
    `cover_new_handlers` finds the handlers that are added in the block.
    """
    _handlers.enter()
    try:
        yield
    finally:
        _handlers.leave()


def cover_new_handlers() -> None:
    """Add the fields also to records of handlers that were added since `task_fields` began."""
    _handlers.cover_new()


class TextFormatter(logging.Formatter):
    """Formats a record as one readable line, with the name, id and attempt of its task.

    A traceback follows on indented lines: so no text can forge a record.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        line = super().formatMessage(record)
        if "\n" in line and f"{record.name}.".startswith("stem_amqp."):
            # The remedy in an error message is on a separate line
            line = " | ".join(part.strip() for part in line.splitlines() if part.strip())
        line = one_line(without_secrets(line))
        task_id = getattr(record, "task_id", None)
        if task_id is None:
            return line
        fields = vars(record)
        task = one_line(f"{fields['task_name']} {task_id}")
        # The worker's own lines about a task begin with it
        known = f"{record.name}.".startswith("stem_amqp.") and f"task {task}" in line
        return line if known else f"{line} [{task} #{fields['task_attempt']}]"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with the traceback below it."""
        # Another handler's formatter may have stored its text of the traceback in the record
        known = record.exc_text
        record.exc_text = None if record.exc_info or not known else self._indented_deeper(known)
        try:
            return super().format(record)
        finally:
            record.exc_text = known

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return a traceback, indented."""
        return self._indented_deeper(without_secrets(_traceback(ei)))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Return a record's stack, indented."""
        return self._indented_deeper(stack_info)

    @staticmethod
    def _indented_deeper(text: str) -> str:
        return f"    {indented(text, '    ')}"


def data_of(record: logging.LogRecord, formatter: logging.Formatter) -> dict[str, Any]:
    """Return a record as named values: the standard ones, then ``extra``, then the traceback."""
    data: dict[str, Any] = {
        "at": timestamp(record.created),
        "level": record.levelname,
        "logger": record.name,
        "message": without_secrets(record.getMessage()),
    }
    data.update(
        (name, value)
        for name, value in vars(record).items()
        if name not in _STANDARD and value is not None
    )
    if record.exc_info:
        data["exception"] = without_secrets(formatter.formatException(record.exc_info))
    return data


class JsonFormatter(logging.Formatter):
    """Formats a record as one line with a JSON object; ``extra`` values are fields of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return json_text(data_of(record, self))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return a traceback without the frames of the worker."""
        return _traceback(ei)


def _traceback(exc_info: Any) -> str:
    error: BaseException | None = exc_info[1]
    # `log.exception` outside of an except block has no exception
    return "NoneType: None" if error is None else traceback_of(error).rstrip("\n")


def enable() -> None:
    """Enable the framework's loggers again.

    `logging.config.dictConfig` and `fileConfig` disable all existing loggers by default. An
    application that configures its own logging does not intend to disable the worker's.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and f"{name}.".startswith("stem_amqp."):
            logger.disabled = False


def configure(level: str, log_format: LogFormat) -> None:
    """Write the root logger's records to standard error; for the ``worker`` command.

    Args:
        level: the lowest level that is written, such as ``INFO``.
        log_format: text or JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    enable()
    for noisy in ("aio_pika", "aiormq"):
        # The transport itself reports the faults from which it recovers
        logging.getLogger(noisy).setLevel(max(logging.ERROR, logging.getLevelName(level)))
