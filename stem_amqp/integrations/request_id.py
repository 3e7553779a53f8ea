"""The id of the request in which a task was enqueued, stored in the task's metadata."""

from __future__ import annotations

from contextvars import ContextVar

from typing_extensions import override

from stem_amqp.context.middleware import Middleware, OutgoingTask, Publish

__all__ = ["CarryRequestId", "request_id"]

KEY = "request_id"
"""The id's name in the metadata and in log records."""

request_id: ContextVar[str | None] = ContextVar("stem_amqp_request_id", default=None)
"""The id of the current request; None outside of a request."""


class CarryRequestId(Middleware):
    """Add the request's id to the metadata of each task that is enqueued within the request.

    Tasks that such a task enqueues inherit it. A ``request_id`` given by the caller is kept.
    """

    @override
    async def publish(self, message: OutgoingTask, call_next: Publish) -> None:
        """Add the request's id, and pass the task on."""
        current = request_id.get()
        if current is not None and KEY not in message.meta:
            message = message.with_meta(**{KEY: current})
        await call_next(message)
