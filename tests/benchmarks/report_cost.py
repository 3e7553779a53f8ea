"""Measure what the reports of one task cost in each exporter, without a broker and without a worker.

python tests/benchmarks/report_cost.py [KIND …]

The reports of a task that succeeds are passed to an application's exporters, as a worker does, for 200 tasks at a
time. The least CPU time of many repetitions counts: each is so short that some of them are undisturbed on a loaded
machine too, where `observability_cost.py` needs a quiet one. The call of each report by this script is a part of it,
as the first line shows. What a drain costs beyond the reports, such as to
read a message's `traceparent`, is not in here.
"""

import argparse
import asyncio
import contextvars
import time

from observability_cost import KINDS

from stem_amqp import Stem
from stem_amqp.clock import timestamp
from stem_amqp.messages.message import TaskMessage
from stem_amqp.outcome import Succeeded
from stem_amqp.worker.job import Job

TASKS = 200
OUTCOME = Succeeded(result=b"", duration=0.001)
REPORTS = {"received": 0, "started": 0, "ended": 1, "settled": 2}
"""The reports of a task, with the number of values that follow the job."""
HEADERS = {"traces-not-sampled": "00", "traces-sampled": "01"}
"""The flags of the trace that the messages of a kind belong to."""


def jobs(kind, definition, now):
    """Return jobs of messages that were enqueued one after the other."""
    headers = {}
    if kind in HEADERS:
        headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-{HEADERS[kind]}"}
    made = []
    for number in range(TASKS):
        job = Job(body=b"{}", headers=dict(headers), queue="q")
        job.message = TaskMessage(
            id="id", task="work", args={}, enqueued_at=timestamp(now - 1 + number / 15_000)
        )
        job.definition, job.started, job.duration = definition, True, 0.001
        made.append(job)
    return made


def shortest(kind, repetitions):
    """Return the least microseconds of a task in each report, and in what is passed on later."""
    stem = Stem(broker_url="memory://reports", exporters=KINDS[kind]())

    @stem.task("work", queue="q")
    async def work() -> None: ...

    telemetry = stem.blueprint.telemetry
    flushes = [one.flush for one in telemetry.exporters if hasattr(one, "flush")]
    found = {}
    for _ in range(repetitions):
        now = time.time()
        each = jobs(kind, stem.blueprint.registry["work"], now)
        for name, values in REPORTS.items():
            begun = time.thread_time()
            for job in each:
                for report in getattr(telemetry, name):
                    report(job, *(OUTCOME, now)[:values])
            note(found, name, begun)
        begun = time.thread_time()
        for flush in flushes:
            flush()
        note(found, "flush", begun)
    return found


def note(found, name, begun):
    """Keep the microseconds of a task if they are the least."""
    spent = (time.thread_time() - begun) / TASKS * 1e6
    found[name] = min(spent, found.get(name, spent))


async def main():
    """Measure, and print a line for each kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--repetitions", type=int, default=500)
    given = parser.parse_args()
    kinds = given.kinds or ["prometheus", "meter", "traces-not-sampled"]
    for kind in dict.fromkeys(["off", *kinds]):
        found = contextvars.copy_context().run(shortest, kind, given.repetitions)
        parts = ", ".join(f"{name} {spent:.2f}" for name, spent in found.items())
        print(f"{kind:18} {sum(found.values()):6.2f} µs a task: {parts}")


if __name__ == "__main__":
    asyncio.run(main())
