"""Test directives while the broker that stores them is killed, and while an operator dies in the middle."""

import asyncio
import uuid

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.directives.model import Kind

pytestmark = pytest.mark.timeout(300)  # uses private nodes: not marked as rabbitmq


def application(node, namespace, ran):
    """Return an application on a private node whose task records its runs."""
    stem = Stem(broker_url=node.url, backend_url="rpc://", namespace=namespace)

    @stem.task("orders.sync", queue="q", ignore_result=True)
    async def sync(number: int) -> None:
        ran.append(number)

    return stem


def test_revocations_survive_a_kill_of_the_broker(node):
    """They are issued while no worker runs; after the kill a worker that starts obeys them."""
    namespace, ran = f"t-{uuid.uuid4().hex[:8]}", []

    async def revoke():
        async with application(node, namespace, ran) as stem:
            first = await stem.enqueue("orders.sync", {"number": 1})
            await stem.enqueue("orders.sync", {"number": 2}, meta={"tenant": "acme"})
            await asyncio.sleep(0.002)  # times are compared in milliseconds
            await stem.revoke(first.id)
            await stem.revoke_all(meta={"tenant": "acme"})
            await stem.enqueue("orders.sync", {"number": 3})

    async def work():
        stem = application(node, namespace, ran)
        async with stem, stem.worker(["q"]).running() as worker:
            assert len(worker.steering.directives.in_effect(Kind.REVOKE)) == 2
            await eventually(lambda: worker.statistics().done == 3, "three ends")

    asyncio.run(revoke())
    node.keep_queues()
    node.kill()
    node.start()
    asyncio.run(work())
    assert ran == [3]


def test_a_worker_reads_again_what_it_missed_while_its_connections_were_closed(node):
    """A directive that is issued in between reaches it after it has reconnected."""
    namespace, ran = f"t-{uuid.uuid4().hex[:8]}", []

    async def run():
        stem = application(node, namespace, ran)
        async with stem, stem.worker(["q"]).running() as worker:
            for number in range(3):
                await asyncio.to_thread(node.close_connections)
                async with application(node, namespace, ran) as operator:
                    await operator.revoke(f"t{number}")
            known = worker.steering.directives.in_effect
            await eventually(lambda: len(known(Kind.REVOKE)) == 3, "all three")

    asyncio.run(run())
