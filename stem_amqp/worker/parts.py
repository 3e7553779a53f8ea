"""The parts of an application that a worker uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.context.context import EnqueuesCalls
from stem_amqp.transport.base import Transport


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerParts:
    """The parts of an application that a worker uses.

    Args:
        blueprint: the application's description.
        connected: its open connections.
        app: the application; the contexts of tasks enqueue with it, and child processes import it.
        open_transport: makes another transport to the same broker; None if only one process can use it.
        check: called before the worker consumes; raises if the topology on the broker is wrong.
    """

    blueprint: Blueprint
    connected: Connected
    app: EnqueuesCalls
    open_transport: Callable[[], Transport] | None = None
    check: Callable[[], Awaitable[None]] | None = None
