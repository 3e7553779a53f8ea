"""The tasks on Dramatiq."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import Retry
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench import work
from bench.run import REDIS_URL

QUEUE = work.RUN.name


class QuorumBroker(RabbitmqBroker):
    """Dramatiq has no option for the queue type; this is the place where it makes the arguments."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return super()._build_queue_arguments(queue_name) | {"x-queue-type": "quorum"}


broker = QuorumBroker(url=work.RUN.url, confirm_delivery=True)
STORING = {}
if work.RUN.backend == "redis":
    broker.add_middleware(Results(backend=RedisBackend(url=REDIS_URL), result_ttl=300_000))
    STORING = {"store_results": True}
dramatiq.set_broker(broker)

TASKS = {
    "noop": dramatiq.actor(work.sync_noop, actor_name="noop", queue_name=QUEUE),
    "sync": dramatiq.actor(work.sync_noop, actor_name="sync", queue_name=QUEUE),
    "wait": dramatiq.actor(work.sync_wait, actor_name="wait", queue_name=QUEUE),
    "crunch": dramatiq.actor(work.crunch, actor_name="crunch", queue_name=QUEUE),
    "value": dramatiq.actor(work.sync_value, actor_name="value", queue_name=QUEUE, **STORING),
}


@dramatiq.actor(actor_name="flaky", queue_name=QUEUE)
def flaky(number: int) -> None:
    """Fail once, and ask for a second run."""
    try:
        work.flaky(number)
    except work.OnceError as error:
        raise Retry(delay=2000) from error


TASKS["flaky"] = flaky
