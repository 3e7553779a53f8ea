"""Helpers for tests: wait for conditions, and clean up."""

import asyncio
import time
from pathlib import Path

PATIENCE = 60.0
"""Seconds: a busy machine with two cores may be ten times slower than an idle one."""


async def eventually(holds, what="the condition", timeout=PATIENCE):
    """Wait until a condition (a function or coroutine function) holds, and return its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = holds()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        await asyncio.sleep(0.005)


def until(holds, what="the condition", timeout=PATIENCE):
    """Wait in synchronous code until a condition holds, and return its value."""
    deadline = time.monotonic() + timeout
    while not (value := holds()):
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        time.sleep(0.02)
    return value


def free_port():
    """Return a free TCP port of 127.0.0.1, which no outgoing connection takes until the test uses it."""
    from stem_amqp.servers.keeping import free_ports

    return free_ports(1)[0]


async def report_ends(backend, group_id, *indexes):
    """Report that members of a group have succeeded, and return the group after the last one."""
    from stem_amqp.results.base import MemberReport
    from stem_amqp.states import TaskState

    reports = [
        MemberReport(group_id=group_id, index=index, task_id=f"t{index}", state=TaskState.SUCCEEDED)
        for index in indexes
    ]
    return (await backend.report_members(reports))[-1]


async def remove_keys(url, namespace):
    """Delete the keys of a namespace from a Redis."""
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client:
        keys = [key async for key in client.scan_iter(f"{namespace}:*", count=1000)]
        if keys:
            await client.delete(*keys)


async def delivery_type(stem):
    """Return the class of the deliveries of an application's broker."""
    if stem.settings.broker_url[0].get_secret_value().startswith("memory:"):
        from stem_amqp.transport.memory.delivery import MemoryDelivery

        return MemoryDelivery
    from stem_amqp.transport.amqp.delivery import AmqpDelivery

    return AmqpDelivery


async def empty(stem):
    """Return whether the work queue has no ready messages."""
    name = stem.names.work("q")
    return (await stem.connected.transport.status([name]))[name].ready == 0


def write_distribution(folder, name, backends):
    """Write the metadata of an installed package that provides result backends.

    Args:
        folder: a folder of ``sys.path``.
        name: the distribution's name.
        backends: maps a URL scheme to ``module:factory``.
    """
    info = Path(folder) / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{scheme} = {target}\n" for scheme, target in backends.items()]
    (info / "entry_points.txt").write_text("[stem_amqp.backends]\n" + "".join(lines))
