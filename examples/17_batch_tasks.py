"""Batch tasks: one call of the function for many messages, each of which has its own result.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import Batch, BatchFailed, Reject, Stem, TaskFailedError

stem = Stem()
sizes: list[int] = []


@stem.task("readings.store", queue="readings", batch=Batch(size=50, within="5s"))
async def store(readings: list[float]) -> list[str]:
    """Store readings in one statement; a reading below absolute zero is a dead letter."""
    sizes.append(len(readings))
    wrong = {i: Reject("too cold") for i, value in enumerate(readings) if value < -273.15}
    raise BatchFailed(wrong, [f"stored {value}" for value in readings])


async def main() -> None:
    """Enqueue readings one by one, and read the result of each."""
    async with stem:
        calls = [store.prepare(float(value)) for value in range(100)]
        handles = await stem.enqueue_many([*calls, store.prepare(-300.0)])
        async with stem.worker().running():
            print(await handles[0].result(timeout="30s"))
            print(await handles[99].result(timeout="30s"))
            try:
                await handles[100].result(timeout="30s")
            except TaskFailedError as error:
                print(error.reason, error.error)
    print(len(handles), "messages,", len(sizes), "calls of the function")


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# stored 0.0
# stored 99.0
# rejected stem_amqp.task_control.Reject: too cold
# 101 messages, 3 calls of the function
