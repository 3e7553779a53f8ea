"""Bulk enqueue: hundreds of publishes await their confirm at a time, and none is lost.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import EnqueueManyError, Stem

stem = Stem()


@stem.task("numbers.square", queue="numbers")
async def square(number: int) -> int:
    """Square a number."""
    return number**2


async def main() -> None:
    """Enqueue a thousand tasks, and then three, of which one has an unknown queue."""
    async with stem, stem.worker(prefetch=100, concurrency=100).running():
        handles = await stem.enqueue_many(square.prepare(number) for number in range(1000))
        results = await asyncio.gather(*(handle.result(timeout="30s") for handle in handles))
        print(len(handles), "tasks, the sum of their results:", sum(results))

        calls = [square.prepare(1), square.options(queue="nowhere").prepare(2), square.prepare(3)]
        try:
            await stem.enqueue_many(calls)
        except EnqueueManyError as error:
            print("enqueued:", sorted(error.done), "not enqueued:", sorted(error.failed))


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# 1000 tasks, the sum of their results: 332833500
# enqueued: [0, 2] not enqueued: [1]
