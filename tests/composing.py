"""Helpers for tests of compositions: enqueue nodes of the wire format."""

import time

from support import PATIENCE, eventually

from stem_amqp.clock import timestamp
from stem_amqp.dead_letter import ALL, DeadLetters
from stem_amqp.messages.links import GroupNode, LinkNode
from stem_amqp.producer.linking.linker import Linker
from stem_amqp.producer.linking.place import Place
from stem_amqp.states import TaskState

QUEUE = "q"


def link(task, piped=None, args=None, **fields):
    """Return a link of the queue of these tests."""
    return LinkNode(task=task, queue=QUEUE, piped=piped, args=args or {}, **fields)


def group(*members, **fields):
    """Return a group; its members are nodes or tuples of nodes."""
    return GroupNode(members=members, **fields)


def linker_of(stem):
    """Return what begins the nodes of compositions."""
    connected = stem.connected
    return Linker(
        stem.blueprint,
        clock=connected.transport.clock,
        backend=connected.backend,
        writer=connected.writer,
        producer=connected.producer,
        seal=connected.seal,
    )


async def compose(stem, *nodes, id="c"):  # noqa: A002 - as in the API
    """Enqueue a chain of nodes as a producer does."""
    place = Place(
        composition=id,
        enqueued_at=timestamp(time.time()),
        reply_to=await stem.connected.backend.reply_address(),
    )
    await linker_of(stem).begin(nodes, place, None)


async def end_of(stem, task_id):
    """Wait until a task has ended, and return its record."""
    return await stem.connected.backend.wait(task_id, PATIENCE)


async def result_of(stem, task_id):
    """Return the JSON text of the result of a task that succeeds."""
    record = await end_of(stem, task_id)
    assert record.state is TaskState.SUCCEEDED, record
    return record.result


async def failure_of(stem, task_id):
    """Return the record of a task that fails."""
    record = await end_of(stem, task_id)
    assert record.state is TaskState.FAILED, record
    return record


async def replay_all(stem, count=1, queue=QUEUE):
    """Wait for a number of dead letters, and replay them."""
    letters = DeadLetters(stem, queue)

    async def there():
        return await letters.count() >= count

    await eventually(there, f"{count} dead letters")
    return await letters.replay(ALL)


async def retried(stem, handle, result):
    """Replay the dead letter of a composition, and wait until its last task has a result, as JSON text."""

    async def replayed():
        return await handle.retry_failed() == 1

    await eventually(replayed, "a dead letter that is replayed")

    async def mended():
        record = await stem.handle(handle.task_id).status()
        return record.state is TaskState.SUCCEEDED and record.result == result

    await eventually(mended, "the result of the callback")


async def settled(stem, queue=QUEUE):
    """Wait until the work queue and the delay queues have no message that is ready."""
    names = [stem.names.work(queue), *stem.names.delay_queues()]

    async def idle():
        status = await stem.connected.transport.status(names)
        return all(found is None or found.ready == 0 for found in status.values())

    await eventually(idle, "an empty queue")
