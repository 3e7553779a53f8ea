"""Signals report events of tasks and workers: for logs, metrics and alerts.

A listener never affects the task: its exceptions are logged. Needs a RabbitMQ on localhost, or the
one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import Event, Stem, TaskContext

stem = Stem()
stem.signals.configure(enabled_signals={"worker-heartbeat": False})  # or STEM_ENABLED_SIGNALS


@stem.task("orders.sync", queue="orders", retry={"base": "100ms", "jitter": 0})
async def sync(context: TaskContext, order: str) -> str:
    """Fail once."""
    if context.attempt == 0:
        raise TimeoutError("no answer")
    return order


@stem.signals.worker_ready.connect()
@stem.signals.worker_stopped.connect()
def worker_changed(event: Event) -> None:
    """Print an event of a worker."""
    print(event.signal)


@stem.signals.task_started.connect(task="orders.*")
@stem.signals.task_retried.connect(task="orders.*")
@stem.signals.task_succeeded.connect(task="orders.*")
async def order_changed(event: Event) -> None:
    """Print an event of a task whose name matches, with the caller's metadata."""
    print(event.signal, event.task, "attempt", event.attempt, event.meta["request"])


async def main() -> None:
    """Run a task that needs two attempts."""
    async with stem, stem.worker().running():
        handle = await sync.options(meta={"request": "r-1"}).enqueue("42")
        await handle.result(timeout="10s")


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# worker-ready
# task-started orders.sync attempt 0 r-1
# task-retried orders.sync attempt 0 r-1
# task-started orders.sync attempt 1 r-1
# task-succeeded orders.sync attempt 1 r-1
# worker-stopped
