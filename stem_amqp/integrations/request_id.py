"""The id of the request in which a task was enqueued, carried along in the task's metadata."""

from __future__ import annotations

from contextvars import ContextVar

from stem_amqp.middleware import Middleware, OutgoingTask, Publish

KEY = "request_id"
"""Its name in the metadata, and in log records."""

request_id: ContextVar[str | None] = ContextVar("stem_amqp_request_id", default=None)
"""The id of the request that is served here; None outside of one."""


class CarryRequestId(Middleware):
    """Writes the request's id into the metadata of each task that is enqueued within it.

    Tasks that such a task enqueues inherit it. A ``request_id`` that the caller gave stays.
    """

    async def publish(self, message: OutgoingTask, call_next: Publish) -> None:
        """Pass the task on, with the request's id."""
        current = request_id.get()
        if current is not None and KEY not in message.meta:
            message = message.with_meta(**{KEY: current})
        await call_next(message)
