"""The tasks on Celery."""

from __future__ import annotations

from celery import Celery, Task

from bench import work
from bench.run import REDIS_URL

_BACKENDS = {"none": None, "redis": REDIS_URL, "rpc": "rpc://"}

app = Celery("bench", broker=work.RUN.url, backend=_BACKENDS[work.RUN.backend])
app.conf.update(
    task_default_queue=work.RUN.name,
    task_default_queue_type="quorum",
    task_default_exchange_type="topic",
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=work.RUN.backend == "none",
    result_expires=300,
    worker_enable_remote_control=False,
)

noop = app.task(work.sync_noop, name="noop")
sync = app.task(work.sync_noop, name="sync")
wait = app.task(work.sync_wait, name="wait")
crunch = app.task(work.crunch, name="crunch")
value = app.task(work.sync_value, name="value")


@app.task(name="flaky", bind=True)
def flaky(self: Task, number: int) -> None:
    """Fail once, and ask for a second run."""
    try:
        work.flaky(number)
    except work.OnceError as error:
        raise self.retry(countdown=2, exc=error) from error
