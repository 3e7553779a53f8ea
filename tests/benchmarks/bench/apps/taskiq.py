"""The tasks on taskiq with taskiq-aio-pika."""

from __future__ import annotations

from typing import Any

from taskiq import SmartRetryMiddleware
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType
from taskiq_redis import RedisAsyncResultBackend

from bench import work
from bench.run import REDIS_URL

NAME = work.RUN.name

broker = AioPikaBroker(
    work.RUN.url,
    qos=work.RUN.concurrency,
    exchange=Exchange(name=NAME),
    task_queues=[Queue(name=NAME, type=QueueType.QUORUM)],
    dead_letter_queue=Queue(name=f"{NAME}.dead", type=QueueType.QUORUM),
    delay_queue=Queue(name=f"{NAME}.delay", type=QueueType.QUORUM),
)
if work.RUN.backend == "redis":
    stored: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(REDIS_URL, result_ex_time=300)
    broker = broker.with_result_backend(stored)
if work.RUN.task == "flaky":
    retries = SmartRetryMiddleware(default_delay=2, use_jitter=False, default_retry_label=True)
    broker = broker.with_middlewares(retries)

TASKS = {
    "noop": broker.register_task(work.noop, task_name="noop"),
    "sync": broker.register_task(work.sync_noop, task_name="sync"),
    "wait": broker.register_task(work.wait, task_name="wait"),
    "crunch": broker.register_task(work.crunch, task_name="crunch"),
    "value": broker.register_task(work.value, task_name="value"),
}


@broker.task(task_name="flaky")
async def flaky(number: int) -> None:
    """Fail once."""
    work.flaky(number)


TASKS["flaky"] = flaky
