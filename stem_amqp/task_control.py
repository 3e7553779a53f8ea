"""Exceptions that a task raises to control its own message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stem_amqp.durations import Duration
from stem_amqp.errors import ConfigurationError


class TaskControl(BaseException):
    """Base class of the exceptions with which a task controls its message.

    It is not an `Exception`, so that ``except Exception`` in a task does not catch it.
    """


class Retry(TaskControl):
    """Run the task again later. This counts as an attempt.

    Args:
        delay: seconds or a duration such as ``"30s"``; None uses the retry policy.
        reason: for the log, the signals and the dead letter.
    """

    def __init__(self, delay: Duration | None = None, reason: str | None = None) -> None:
        super().__init__(reason or "retry requested")
        self.delay = delay
        self.reason = reason


class Snooze(TaskControl):
    """Run the task again later. This does not count as an attempt.

    Args:
        delay: seconds or a duration such as ``"5m"``.
        reason: for the log and the signals.
    """

    def __init__(self, delay: Duration, reason: str | None = None) -> None:
        super().__init__(reason or "snoozed")
        self.delay = delay
        self.reason = reason


class Reject(TaskControl):
    """Dead-letter the message at once.

    Args:
        reason: the reason, stored in the dead letter's ``stem-error``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BatchFailed(TaskControl):
    """Fail some items of a batch; the others succeed.

    Each failed item is retried, dead-lettered or snoozed by itself, as if its own run had raised the
    exception.

    Args:
        errors: index of an item to its exception; a `Retry`, `Snooze` or `Reject` is one too.
        results: the results of the items, in the order of the items; those of failed items are ignored.
            None: every other item's result is None.

    Raises:
        ConfigurationError: a key is not an index, or a value is not an exception.
    """

    def __init__(
        self, errors: Mapping[int, BaseException], results: Sequence[Any] | None = None
    ) -> None:
        for index, error in errors.items():
            if type(index) is not int or not isinstance(error, BaseException):
                raise ConfigurationError(
                    "BatchFailed takes a mapping of indexes to exceptions, such as"
                    f" BatchFailed({{3: ValueError('no price')}}), not {index!r:.40}: {error!r:.80}"
                )
        super().__init__(f"{len(errors)} items failed")
        self.errors = dict(errors)
        self.results = results
