"""The exchanges and queues that hold one document: of operators, and of schedulers."""

from __future__ import annotations

from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.names import COMMAND_KEY, DOCUMENT_KEY, Names

DELIVERY_LIMIT = 2_000_000_000
"""The delivery limit of the queue. Every worker takes and returns the document once a minute, and before
RabbitMQ 4.3 each return counts: 1,000 workers reach 1,000,000 in 17 hours, and this in 4 years. Each change
of the document starts the count again."""


def directives(names: Names) -> Entities:
    """Return the exchange of operators with its queue and its bindings.

    One consumer at a time receives what is in the queue (a single active consumer), so that nobody reads
    or changes a part of it while another changes it. Messages with another key are unroutable.

    Args:
        names: the names in the namespace.
    """
    name = names.directives
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-single-active-consumer": True,
    }
    return Entities(
        exchanges=(Exchange(name=name, type="direct"),),
        queues=(Queue(name=name, arguments=arguments),),
        bindings=(
            Binding(source=name, destination=names.control, key=COMMAND_KEY, to_exchange=True),
            Binding(source=name, destination=name, key=DOCUMENT_KEY),
        ),
    )


def schedules(names: Names) -> Entities:
    """Return the exchange and the queue of schedulers.

    One consumer at a time receives what is in the queue (a single active consumer): it is the leader, and holds a
    message of the queue as long as it runs.

    Args:
        names: the names in the namespace.
    """
    name = names.schedules
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-single-active-consumer": True,
    }
    return Entities(
        exchanges=(Exchange(name=name, type="direct"),),
        queues=(Queue(name=name, arguments=arguments),),
        bindings=(Binding(source=name, destination=name, key=DOCUMENT_KEY),),
    )
