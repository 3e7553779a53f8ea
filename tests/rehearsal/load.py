"""Enqueues ``orders.sync`` all the time, and what lines such as ``orders.fail 40`` ask for."""

import asyncio
import sys

from shop import stem

from stem_amqp.errors import StemError

PAUSE = 0.1


async def load():
    """Enqueue, also after a refusal."""
    while True:
        try:
            await stem.enqueue("orders.sync")
        except StemError as error:
            print("load", type(error).__name__, file=sys.stderr, flush=True)
        await asyncio.sleep(PAUSE)


async def main():
    """Answer each line with the ids of its tasks."""
    async with stem:
        background = asyncio.create_task(load())
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, number = line.split()
            handles = await stem.enqueue_many(stem.prepare(name) for _ in range(int(number)))
            print(*(handle.id for handle in handles), flush=True)
        background.cancel()


asyncio.run(main())
