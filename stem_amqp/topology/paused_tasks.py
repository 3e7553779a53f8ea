"""Queues in which the messages of paused tasks wait.

A worker declares one when it moves the first message of a paused task there. Each holds the messages of one
task from one logical queue: so a resume consumes exactly those, and costs the other paused tasks nothing.
It is never deleted while workers run: RabbitMQ can delete a quorum queue only with its messages, and one may
just have arrived.
"""

from __future__ import annotations

from stem_amqp.topology.delays import AT_LEAST_ONCE, parking
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.names import Names


def paused_task(names: Names, queue: str, task: str) -> Entities:
    """Return the queue of a paused task, with its exchange and binding.

    A worker runs its messages as those of the logical queue: what it rejects goes to the same dead-letter
    queue.

    Args:
        names: the names in the namespace.
        queue: the logical queue.
        task: the task's name.
    """
    name = names.held(queue, task)
    arguments = parking() | {
        "x-dead-letter-exchange": names.dead,
        "x-dead-letter-routing-key": queue,
        **AT_LEAST_ONCE,
    }
    return Entities(
        # no alternate exchange: a publish must fail if the queue does not exist
        exchanges=(Exchange(name=names.paused, type="direct"),),
        queues=(Queue(name=name, arguments=arguments),),
        bindings=(Binding(source=names.paused, destination=name, key=name),),
    )
