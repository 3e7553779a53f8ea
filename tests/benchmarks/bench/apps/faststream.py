"""The tasks on FastStream: one subscriber, whose body is the task of the run."""

from __future__ import annotations

from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from bench import work

_BODIES = {
    "noop": work.noop,
    "sync": work.sync_noop,
    "wait": work.wait,
    "crunch": work.crunch,
}

broker = RabbitBroker(
    work.RUN.url,
    default_channel=Channel(
        prefetch_count=work.RUN.concurrency, publisher_confirms=True, on_return_raises=True
    ),
    logger=None,
)
queue = RabbitQueue(work.RUN.name, durable=True, queue_type=QueueType.QUORUM)
app = FastStream(broker, logger=None)

if work.RUN.task in _BODIES:
    broker.subscriber(queue, ack_policy=AckPolicy.REJECT_ON_ERROR)(_BODIES[work.RUN.task])
