"""Labels for failures: a reason for each failed publish, and a bounded number of exception types."""

from __future__ import annotations

import re

from stem_amqp.errors import (
    BrokerUnavailableError,
    MessageTooLargeError,
    PublishRefusedError,
    PublishTimeoutError,
    UnroutableError,
)
from stem_amqp.observability.metrics.model import OTHER
from stem_amqp.outcome import Failure

MAXIMUM = 50
"""Types of exceptions with a label of their own in one process; more are ``other``."""
_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (UnroutableError, "unroutable"),
    (PublishRefusedError, "refused"),
    (PublishTimeoutError, "timeout"),
    (BrokerUnavailableError, "unavailable"),
    (MessageTooLargeError, "too_large"),
)


def reason_of(error: BaseException) -> str:
    """Return why a publish failed, as a label."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), OTHER)


class ExceptionNames:
    """Names of exception types as labels: the first `MAXIMUM` of a process, then ``other``."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def of(self, failure: Failure) -> str:
        """Return the label of a failure.

        Args:
            failure: of a run; without an exception, its text begins with the type.
        """
        error = failure.exception
        name = failure.error.partition(":")[0] if error is None else type(error).__name__
        if name in self._names:
            return name
        if len(self._names) >= MAXIMUM or not _TYPE.fullmatch(name):
            return OTHER
        self._names.add(name)
        return name
