"""See what tasks do: count them for Prometheus, and follow their events as they happen.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL, and `pip install 'stem-amqp[prometheus]'`.
A worker on the command line needs no code: `stem-amqp worker shop:stem --metrics-port 9464`, and in
another terminal `stem-amqp events shop:stem`.
"""

import asyncio

from prometheus_client import REGISTRY

from stem_amqp import Stem, TaskContext
from stem_amqp.observability.metrics import PrometheusExporter

stem = Stem(exporters=[PrometheusExporter()])


@stem.task("orders.sync", queue="orders", retry={"base": "100ms", "jitter": 0})
async def sync(context: TaskContext) -> None:
    """Fail once."""
    if context.attempt == 0:
        raise ConnectionError("no answer")


async def follow() -> None:
    """Print what happens to one task, from its first run on."""
    task_id = None
    async for event in stem.events(task="orders.*", event=("started", "retried", "succeeded")):
        if task_id is None and event.event == "started" and event.attempt == 0:
            task_id = event.id
        if event.id == task_id:
            error = f": {event.error}" if event.error else ""
            print(f"{event.task} {event.event}, attempt {event.attempt}{error}")
            if event.event == "succeeded":
                return


async def main() -> None:
    """Follow a task that needs two attempts."""
    async with stem, stem.worker().running():
        following = asyncio.create_task(follow())
        while not following.done():  # workers begin to send events within a second
            await sync.enqueue()
            await asyncio.sleep(0.2)
        await following
    labels = {"task": "orders.sync", "queue": "orders"}
    published = REGISTRY.get_sample_value("stem_published_total", labels)
    print("counted" if published else "not counted")


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# orders.sync started, attempt 0
# orders.sync retried, attempt 0: ConnectionError: no answer
# orders.sync started, attempt 1
# orders.sync succeeded, attempt 1
# counted
