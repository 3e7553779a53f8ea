"""An application on a real RabbitMQ, in a namespace of one test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from stem_amqp.app import Stem
from stem_amqp.assembly import entities_of
from stem_amqp.testing.cleanup import delete_namespace
from stem_amqp.testing.handshake import run_blocking
from stem_amqp.topology.names import Names


@contextmanager
def on_rabbitmq(app: Stem, url: str) -> Iterator[Stem]:
    """Let an application use a RabbitMQ, in a namespace of its own, for the length of a block.

    It is not connected yet; the block is to close what it opens. Results come back over the broker
    (``rpc://``). Afterwards everything of the namespace is deleted, and the application has its own
    settings again.

    Args:
        app: the application, not connected.
        url: the broker's AMQP URL.
    """
    before = app.settings, app.names
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    app.settings = app.settings.replace(
        broker_url=url, backend_url="rpc://", namespace=namespace, provision="apply"
    )
    app.names = Names(namespace)
    try:
        yield app
        made = entities_of(app)
        exchanges, queues = made.exchanges, made.queues
        run_blocking(
            delete_namespace(url, [one.name for one in exchanges], [one.name for one in queues])
        )
    finally:
        app.settings, app.names = before
