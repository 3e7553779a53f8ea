"""A process that reports the members of a group in random batches: ``report_members.py URL NAMESPACE GROUP SIZE SEED``.

Every seventh member fails first and succeeds later, as after a replay; every eleventh fails for good.
"""

import asyncio
import contextlib
import random
import sys

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.base import MemberReport
from stem_amqp.results.factory import create
from stem_amqp.states import TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport


def ends(group_id, size):
    """Return the reports of all members, in the order in which their tasks end."""
    first, later = [], []
    for index in range(size):
        place = {"group_id": group_id, "index": index, "task_id": f"{group_id}.{index}"}
        failed = MemberReport(**place, state=TaskState.FAILED, error=f"ValueError: {index}")
        good = MemberReport(**place, state=TaskState.SUCCEEDED, value=b"%d" % index)
        if index % 11 == 0:
            first.append(failed)
        elif index % 7 == 0:
            first.append(failed)
            later.append(good)
        else:
            first.append(good)
    return first, later


async def report(backend, group_id, size, seed):
    """Report all members, and repeat what may not be stored; most of them twice."""
    chance = random.Random(seed)
    for some in ends(group_id, size):
        chance.shuffle(some)
        while some:
            batch = [some.pop() for _ in range(min(len(some), chance.randint(1, 60)))]
            repeated = chance.sample(batch, len(batch) // 2)
            for reports in (batch, repeated):
                await stored(backend, reports)


async def stored(backend, reports):
    """Report until the store answers."""
    while True:
        with contextlib.suppress(BackendUnavailableError):
            groups = await backend.report_members(reports)
            assert None not in groups
            return
        await asyncio.sleep(0.05)


async def opened(url, namespace):
    """Return an open backend."""
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    backend = create(
        url, clock=SystemClock(), transport=transport, names=Names(namespace), ttl=3600
    )
    await backend.open()
    return backend


async def main():
    """Report what the command line says."""
    url, namespace, group_id, size, seed = sys.argv[1:]
    backend = await opened(url, namespace)
    print("reporting", flush=True)
    await report(backend, group_id, int(size), int(seed))
    await backend.close()


if __name__ == "__main__":
    asyncio.run(main())
