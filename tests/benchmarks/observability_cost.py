"""Measure what each kind of observability costs the drain of tasks that do nothing.

python tests/benchmarks/observability_cost.py [--broker URL] [--tasks N] [--rounds N] [KIND …]

All kinds are open in one process. A measurement of a kind has a drain with everything off directly before it
and one directly after it, in opposite order in every second round, so that a machine or a broker that becomes
slower takes part in both sides of the ratio. A ratio is the mean of the two, divided by the kind; the figure is
the median of all rounds' ratios, and the quartiles beside it are its spread.

The first figure is that of CPU time, of all threads of this process: it is what the worker itself spends, and a
worker's process has one core. The second is that of wall time, which has also the broker's time and the time in
which other processes had the core: compare it on a quiet machine only. Where the broker is not the limit, a
process drains as many tasks as its CPU time allows, so that both agree. On a loaded machine even the CPU time of
the same work differs, by the caches and the core that it shares: then take the last figure, the ratio of the
fastest tenth of the drains by CPU time.

The first tasks of every drain, and the first drain of every kind, are not measured.
A new kind is a function that returns the exporters of an application, in `KINDS`.
"""

import argparse
import asyncio
import contextlib
import gc
import statistics
import time
import uuid

from stem_amqp import Stem


def off():
    """Return no exporters."""
    return []


def prometheus():
    """Return an exporter to a registry of Prometheus."""
    from prometheus_client import CollectorRegistry

    from stem_amqp.observability.metrics import PrometheusExporter

    return [PrometheusExporter(CollectorRegistry())]


def meter():
    """Return an exporter to a meter of OpenTelemetry's SDK."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from stem_amqp.observability.metrics import MeterExporter

    return [MeterExporter(MeterProvider([InMemoryMetricReader()]))]


def tracing(sampler):
    """Return an exporter that makes spans with OpenTelemetry's SDK, which drops them in its thread."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ParentBased

    from stem_amqp.observability.tracing import TracingExporter

    class Nowhere(SpanExporter):
        def export(self, spans):
            return SpanExportResult.SUCCESS

    provider = TracerProvider(sampler=ParentBased(sampler))
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return [TracingExporter(provider)]


def not_sampled():
    """Return an exporter of traces of which none is sampled."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    return tracing(ALWAYS_OFF)


def sampled():
    """Return an exporter of traces of which each is sampled."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    return tracing(ALWAYS_ON)


KINDS = {
    "off": off,
    "prometheus": prometheus,
    "meter": meter,
    "traces-not-sampled": not_sampled,
    "traces-sampled": sampled,
    "events": off,
    "listened": off,
}
QUIET = {"events": "off", "heartbeat_interval": 0}
"""The settings of every kind that is not in `SETTINGS`."""
SETTINGS = {"events": {}, "listened": {"events_rate": 1_000_000}}
"""Heartbeats and lifecycle events: without a listener, and with one in another process."""


@contextlib.asynccontextmanager
async def application(broker, kind):
    """Open an application whose tasks do nothing, and yield a function that measures one drain."""
    stem = Stem(
        broker_url=broker or f"memory://{uuid.uuid4().hex}",
        backend_url="memory://",
        namespace=f"cost-{uuid.uuid4().hex[:8]}",
        exporters=KINDS[kind](),
    )
    stem.reconfigure(**SETTINGS.get(kind, QUIET))

    @stem.task("work", queue="q", ignore_result=True)
    async def work(number: int) -> None: ...

    async def drain(tasks):
        """Return the CPU and wall seconds of a task."""
        await stem.enqueue_many(work.prepare(number) for number in range(tasks))
        if kind == "listened":
            stem.connected.events.listen(300)
        gc.collect()
        async with stem.worker(concurrency=50).running() as worker:
            await drained(worker, tasks // 10)  # the start is not measured
            done = worker.statistics().done
            wall, cpu = time.perf_counter(), time.process_time()
            await drained(worker, tasks)
            number = tasks - done
            return (time.process_time() - cpu) / number, (time.perf_counter() - wall) / number

    async with stem:
        yield drain
        if broker:
            await stem.connected.transport.delete(stem.blueprint.entities)


async def drained(worker, number):
    """Wait until a number of tasks are settled."""
    while worker.statistics().done < number:
        await asyncio.sleep(0.002)


async def measured(drains, tasks, rounds):
    """Return the ratios and the seconds of a task of each kind, each as pairs of CPU and wall time."""
    kinds = [kind for kind in drains if kind != "off"]
    ratios, spent = {kind: [] for kind in kinds}, {kind: [] for kind in drains}
    for drain in drains.values():
        await drain(tasks)  # warms up
    for turn in range(rounds):
        before = await drains["off"](tasks)
        for kind in kinds if turn % 2 else reversed(kinds):
            this, after = await drains[kind](tasks), await drains["off"](tasks)
            spent[kind].append(this)
            spent["off"].append(after)
            ratios[kind].append(
                [(one + two) / 2 / own for one, two, own in zip(before, after, this, strict=True)]
            )
            before = after
    return ratios, spent


def fast(seconds):
    """Return the CPU seconds of a task that the fastest tenth of the drains do not exceed."""
    return statistics.quantiles((cpu for cpu, _ in seconds), n=10)[0]


async def main():
    """Measure, and print a line for each kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--broker", help="default: in memory")
    parser.add_argument("--tasks", type=int, default=1000, help="of one drain")
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    kinds = list(dict.fromkeys(["off", *(given.kinds or KINDS)]))
    async with contextlib.AsyncExitStack() as stack:
        drains = {
            kind: await stack.enter_async_context(application(given.broker, kind)) for kind in kinds
        }
        ratios, spent = await measured(drains, given.tasks, given.rounds)
    for kind, seconds in spent.items():
        cpu, wall = (statistics.median(column) for column in zip(*seconds, strict=True))
        line = f"{kind:18} {cpu * 1e6:6.1f} µs CPU a task, {1 / wall:6.0f} tasks/s"
        if kind in ratios:
            columns = [statistics.quantiles(column) for column in zip(*ratios[kind], strict=True)]
            line += "; " + ", ".join(
                f"{name} x {middle:.3f} ({low:.3f} to {high:.3f})"
                for name, (low, middle, high) in zip(("CPU", "wall"), columns, strict=True)
            )
            line += f"; fastest tenth, CPU x {fast(spent['off']) / fast(seconds):.3f}"
        print(line)


if __name__ == "__main__":
    asyncio.run(main())
