"""Measure what the heartbeats of workers cost the broker: processor time of its process.

python tests/benchmarks/heartbeat_cost.py PID [NUMBER]

PID is the process of the RabbitMQ of STEM_BROKER_URL, on this machine: pgrep beam.smp. The broker's time
without heartbeats, of the same length, is subtracted.
"""

import asyncio
import os
import sys
import time
import uuid
from pathlib import Path

from stem_amqp import Stem
from stem_amqp.observability.keys import event_key
from stem_amqp.observability.registry.heartbeat import KEY, Heartbeat, RunningTask
from stem_amqp.observability.registry.watch import watch_workers
from stem_amqp.transport.publication import Publication

PID = int(sys.argv[1])
NUMBER = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
BATCH = 20
WORKERS, INTERVAL = 200, 5.0
TICKS = os.sysconf("SC_CLK_TCK")


def busy():
    """Return the processor seconds that the broker has used."""
    fields = Path(f"/proc/{PID}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def heartbeat(names, number):
    """Return a heartbeat of one of the workers, with ten runs."""
    name = f"worker-{number % WORKERS}.example.org:12345:a1b2c3"
    run = {"id": str(uuid.uuid4()), "task": "orders.sync", "queue": "orders"}
    worker = Heartbeat(
        name=name,
        queues={"orders": 10, "mails": 0},
        consuming=("orders", "mails"),
        running=10,
        done=number,
        interval=INTERVAL,
        host="worker.example.org",
        pid=number,
        runs=tuple(RunningTask(**run, since=time.time()) for _ in range(10)),
    )
    return Publication(
        exchange=names.events,
        routing_key=event_key(KEY, name),
        body=worker.encode(),
        type=KEY,
        app_id=names.namespace,
    )


async def send(transport, names):
    """Send all heartbeats, as fast as the broker reads them."""
    messages = [heartbeat(names, number) for number in range(WORKERS)]
    sent = 0
    while sent < NUMBER:
        if transport.send(messages[sent % WORKERS]):
            sent += 1
        if sent % BATCH == 0:
            await asyncio.sleep(0.005)
    return len(messages[0].body)


async def measure(stem):
    """Return the broker's processor seconds per heartbeat, and the size of one."""
    transport = stem.connected.transport
    transport.send(heartbeat(stem.names, 0))
    await asyncio.sleep(1)
    begun, before = time.monotonic(), busy()
    size = await send(transport, stem.names)
    await asyncio.sleep(1)
    used, took = busy() - before, time.monotonic() - begun
    before = busy()
    await asyncio.sleep(took)
    return max(0.0, used - (busy() - before)) / NUMBER, size


async def main():
    """Measure without and with a listener, and print the share of a core."""
    stem = Stem(namespace=f"beat-{uuid.uuid4().hex[:6]}", backend_url="memory://")
    stem.task("work")(lambda: None)
    async with stem:
        found = {"no listener": await measure(stem)}
        async with watch_workers(stem.connected.transport, stem.names, seal=None):
            found["one listener"] = await measure(stem)
        await stem.connected.transport.delete(stem.blueprint.entities)
    for label, (seconds, size) in found.items():
        share = seconds * WORKERS / INTERVAL
        print(
            f"{label:13} {seconds * 1e6:6.1f} µs of the broker for a heartbeat of {size} bytes;"
            f" {WORKERS} workers: {share:.2%} of a core"
        )


asyncio.run(main())
