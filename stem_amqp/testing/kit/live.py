"""An application on a real RabbitMQ, in a namespace of one test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from stem_amqp.app import Stem
from stem_amqp.servers.answer import run_blocking
from stem_amqp.testing.cleanup import delete_namespace
from stem_amqp.testing.kit.unused import Block


def on_rabbitmq(app: Stem, url: str) -> AbstractContextManager[Stem]:
    """Let an application use a RabbitMQ, in a separate namespace, for the length of a block.

    It is not connected yet; the block must close what it opens. Results, guards and unique keys are in
    the memory of this process. Afterwards the namespace is deleted with everything in it, and the
    application has its own settings again.

    Args:
        app: the application, not connected.
        url: the broker's AMQP URL.

    Raises:
        StemError: the application is connected.
    """
    return Block(lambda: _on_rabbitmq(app, url), "on_rabbitmq(…)")


@contextmanager
def _on_rabbitmq(app: Stem, url: str) -> Iterator[Stem]:
    before = app.blueprint
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    app.reconfigure(
        broker_url=url, backend_url=f"memory://{namespace}", namespace=namespace, provision="apply"
    )
    try:
        yield app
        made = app.blueprint.entities
        exchanges, queues = made.exchanges, made.queues
        run_blocking(
            delete_namespace(url, [one.name for one in exchanges], [one.name for one in queues])
        )
    finally:
        app.swap(before)
