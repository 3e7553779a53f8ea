"""Waiting for conditions and cleaning up, for tests."""

import asyncio
import time
from pathlib import Path

PATIENCE = 20.0


async def eventually(holds, what="the condition", timeout=PATIENCE):
    """Wait until a condition holds, which may be a coroutine function, and return its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = holds()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        await asyncio.sleep(0.005)


async def remove_keys(url, namespace):
    """Remove a namespace from a Redis."""
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client:
        keys = [key async for key in client.scan_iter(f"{namespace}:*", count=1000)]
        if keys:
            await client.delete(*keys)


async def delivery_type(stem):
    """Return the class of this broker's deliveries."""
    if stem.settings.broker_url[0].get_secret_value().startswith("memory:"):
        from stem_amqp.transport.memory.delivery import MemoryDelivery

        return MemoryDelivery
    from stem_amqp.transport.amqp.delivery import AmqpDelivery

    return AmqpDelivery


async def empty(stem):
    """Say whether the work queue has nothing to deliver, and nothing is under way."""
    name = stem.names.work("q")
    return (await stem.connected.transport.status([name]))[name].ready == 0


def write_distribution(folder, name, backends):
    """Write the metadata of an installed package that brings result backends.

    Args:
        folder: a folder of ``sys.path``.
        name: the distribution's name.
        backends: URL scheme to ``module:factory``.
    """
    info = Path(folder) / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{scheme} = {target}\n" for scheme, target in backends.items()]
    (info / "entry_points.txt").write_text("[stem_amqp.backends]\n" + "".join(lines))
