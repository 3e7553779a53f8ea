"""The tasks on stem-amqp."""

from __future__ import annotations

from bench import work
from bench.run import POSTGRES_URL, REDIS_URL
from stem_amqp import Stem

_BACKENDS = {
    "none": "memory://bench",
    "rpc": "rpc://",
    "sqlite": f"sqlite:///{work.RUN.folder}/results.sqlite3",
    "redis": REDIS_URL,
    "postgresql": POSTGRES_URL,
}
QUEUE = "work"

stem = Stem(
    broker_url=work.RUN.url,
    namespace=work.RUN.name,
    backend_url=_BACKENDS[work.RUN.backend],
)
IGNORED = work.RUN.backend == "none"

TASKS = {
    "noop": stem.task("noop", queue=QUEUE, ignore_result=IGNORED)(work.noop),
    "sync": stem.task("sync", queue=QUEUE, ignore_result=IGNORED)(work.sync_noop),
    "wait": stem.task("wait", queue=QUEUE, ignore_result=IGNORED)(work.wait),
    "crunch": stem.task("crunch", queue=QUEUE, ignore_result=IGNORED)(work.crunch),
    "value": stem.task("value", queue=QUEUE, ignore_result=IGNORED, result_ttl="5m")(work.value),
}


@stem.task("flaky", queue=QUEUE, ignore_result=IGNORED, retry={"base": "2s", "jitter": 0})
async def flaky(number: int) -> None:
    """Fail once."""
    work.flaky(number)


TASKS["flaky"] = flaky
