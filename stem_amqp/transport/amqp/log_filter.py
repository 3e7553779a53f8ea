"""Filter aiormq's log: drop records about problems that this transport reports, and reword others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OURS: ContextVar[bool] = ContextVar("stem_amqp_connection", default=False)
"""Set in tasks that aiormq starts for our connections; other users of aiormq keep their log."""

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
    "Got frame for closed channel",
)


_REWRITTEN = {
    "Connection %r was blocked by: %r": "the broker blocks publishers: %s",
    "Connection %r was unblocked": "the broker takes publishes again",
}
"""Records without the connection, which is written as an object of aiormq."""


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the records about problems that the transport reports itself."""
        if not _OURS.get():
            return True
        text = str(record.msg)
        if text in _REWRITTEN:
            record.msg = _REWRITTEN[text]
            record.args = record.args[1:] if isinstance(record.args, tuple) else ()
        return not text.startswith(_HANDLED)


_FILTER = _Filter()


@contextmanager
def filtered_log() -> Iterator[None]:
    """Filter the log of the tasks that aiormq starts inside the block."""
    for name in ("aiormq.connection", "aiormq.channel"):
        logging.getLogger(name).addFilter(_FILTER)
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)
