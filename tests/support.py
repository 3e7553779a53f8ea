"""Waiting for conditions and cleaning up, for tests."""

import asyncio
import time

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
