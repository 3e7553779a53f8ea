"""The application as the demo's workers load it: it also prints its events.

``stem-amqp worker examples.orders.watched:stem`` prints one line for each change of an order.
"""

from __future__ import annotations

from examples.orders.events import READY, follow
from examples.orders.tasks import stem
from stem_amqp import Event

__all__ = ["stem"]

follow(stem, lambda task_id, state: print(task_id, state, flush=True))


@stem.signals.worker_ready.connect()
def ready(_: Event) -> None:
    """Tell the demo that the worker consumes."""
    print(READY, flush=True)
