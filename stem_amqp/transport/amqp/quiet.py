"""Keeps aiormq's log free of what this transport handles and reports itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OURS: ContextVar[bool] = ContextVar("stem_amqp_connection", default=False)
"""Set where aiormq starts the tasks of our connections: other users of aiormq keep their log."""

_HANDLED = (
    "error when creating transport",
    "Unexpected connection close from remote",
    "Cancelling cause reader exited abnormally",
    "Consumer %r cancelled by the broker",
    "Closing channel %r because RPC call",
    "Closing channel %r locally because RPC call",
    "Delivery tag %r confirmed %r was ignored",
    "Unhandled message %r returning",
    "Server connection %r was stuck",
)


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything through but what we report ourselves."""
        return not (_OURS.get() and str(record.msg).startswith(_HANDLED))


_FILTER = _Filter()


@contextmanager
def quiet() -> Iterator[None]:
    """Mark the tasks that aiormq starts inside as ours."""
    for name in ("aiormq.connection", "aiormq.channel"):
        logging.getLogger(name).addFilter(_FILTER)
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)
