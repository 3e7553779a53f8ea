"""Measure 100,000 schedules that are made at run time: the methods of `stem.schedules`, and a leader that has them.

    python tests/benchmarks/schedules_at_scale.py redis://localhost:6379/0 --count 100000

The broker is the one of STEM_BROKER_URL. A sample is added, changed and removed through the methods, some calls at the
same time; the others are written to the store directly. A leader then starts in a process of its own: prints when it
has looked at the schedules first, its memory, its processor time at rest, and how many ticks it publishes a second if
many are due at the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from stem_amqp import Stem
from stem_amqp.schedule_store.base import ScheduleRecord, ScheduleStore
from stem_amqp.scheduler.lead import LEADER, Leader
from stem_amqp.scheduler.process import shared_store

APPLICATION = """
from stem_amqp import Stem

stem = Stem()
stem.task("remind", queue="reminders")(lambda user: None)
"""
SAMPLE = 2000
AT_ONCE = 50
"""Calls at the same time."""
BATCH = 500
DISTANT = "2035-01-01T00:00:00Z"


def name_of(number: int) -> str:
    """Return the name of a user's reminder."""
    return f"reminders.{number:07}"


async def timed(what: str, names: Sequence[str], call: Callable[[str], Awaitable[object]]) -> None:
    """Call for each name, some at the same time, and print how many calls a second took."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with slots:
            await call(name)

    begin, spent = time.monotonic(), time.process_time()
    await asyncio.gather(*(one(name) for name in names))
    took, spent = time.monotonic() - begin, time.process_time() - spent
    print(
        f"{what}: {len(names) / took:,.0f}/s, {spent / len(names) * 1e3:.2f} ms of processor time each"
    )


async def fill(stem: Stem, store: ScheduleStore, count: int) -> None:
    """Write copies of the first schedule to the store, so that there are so many."""
    (first,) = await store.get([name_of(0)])
    assert first is not None
    begin = time.monotonic()
    for start in range(SAMPLE, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        await store.save([replace(first, name=name_of(number), revision="") for number in numbers])
    print(
        f"written to the store in batches of {BATCH}: {(count - SAMPLE) / (time.monotonic() - begin):,.0f}/s"
    )


async def read(stem: Stem) -> None:
    """Print how long pages and globs take."""
    for what, matching in (("all pages of 1,000", "*"), ("a glob that matches 100", "*00042??")):
        begin, after, found = time.monotonic(), "", 0
        while page := await stem.schedules.list(after=after, matching=matching):
            after, found = page[-1].name, found + len(page)
        print(f"list, {what}: {found:,} schedules in {time.monotonic() - begin:.2f} s")
    begin = time.monotonic()
    await stem.schedules.list(after=name_of(SAMPLE))
    print(f"list, one page of 1,000: {(time.monotonic() - begin) * 1e3:.0f} ms")


def spent(process: subprocess.Popen[bytes]) -> float:
    """Return the processor time of a process in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: subprocess.Popen[bytes]) -> int:
    """Return the resident memory of a process in MiB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) // 1024


async def looked(store: ScheduleStore, since: float) -> None:
    """Wait until a leader has looked since a time."""
    while True:
        found = Leader.read((await store.get([LEADER]))[0])
        if found is not None and found.since > since:
            return
        await asyncio.sleep(0.02)


async def lead(stem: Stem, store: ScheduleStore, folder: Path, rest: float, due: int) -> None:
    """Start a leader, and print what it needs."""
    at = time.time()
    command = [sys.executable, "-m", "stem_amqp", "scheduler", "application:stem"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ)
    try:
        await looked(store, at)
        print(
            f"the leader has looked first {time.time() - at:.2f} s after its start,"
            f" {spent(process):.2f} s of processor time with the imports"
        )
        await asyncio.sleep(5)
        before = spent(process)
        await asyncio.sleep(rest)
        print(f"at rest: {(spent(process) - before) / rest:.2%} of a core, {memory(process)} MiB")
        await publish_many(stem, store, process, due)
    finally:
        process.terminate()
        process.wait()


async def publish_many(
    stem: Stem, store: ScheduleStore, process: subprocess.Popen[bytes], due: int
) -> None:
    """Let many reminders tick at the same time, and print how many ticks a second are published."""
    (first,) = await store.get([name_of(0)])
    assert first is not None
    timing = await stem.schedules.add("reminders.now", "remind", at=_soon(), args={"user": 1})
    (model,) = await store.get([timing.name])
    assert model is not None
    before, begin = spent(process), time.monotonic()
    names = [f"reminders.now.{number:06}" for number in range(due)]
    for start in range(0, due, BATCH):
        await store.save(
            [replace(model, name=name, revision="") for name in names[start : start + BATCH]]
        )
    written = time.monotonic() - begin
    while True:
        (last,) = await store.get(names[-1:])
        if last is not None and last.due is None:
            break
        await asyncio.sleep(0.05)
    took = time.monotonic() - begin
    print(
        f"{due:,} ticks at the same time: written in {written:.1f} s, published in {took:.1f} s,"
        f" {due / took:,.0f}/s, {(spent(process) - before) / due * 1e3:.2f} ms of processor time each"
    )


def _soon() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Measure one store."""
    (folder / "application.py").write_text(APPLICATION)
    stem = Stem()
    stem.task("remind", queue="reminders")(lambda user: None)
    async with stem:
        store = shared_store(stem.blueprint, stem.connected)
        assert store is not None, "this result backend stores no schedules"
        try:
            sample = [name_of(number) for number in range(SAMPLE)]
            add = stem.schedules.add
            await timed(
                "add", sample, lambda name: add(name, "remind", at=DISTANT, args={"user": 1})
            )
            await fill(stem, store, options.count)
            change = stem.schedules.change
            await timed("change", sample, lambda name: change(name, args={"user": 2}))
            await read(stem)
            await lead(stem, store, folder, options.rest, options.due)
            await timed("remove", sample[: SAMPLE // 2], stem.schedules.remove)
        finally:
            await clean_up(stem, store)


async def clean_up(stem: Stem, store: ScheduleStore) -> None:
    """Delete what is in the store and on the broker."""
    while page := await store.page():
        gone: list[ScheduleRecord] = list(page)
        await store.remove(gone)
    await stem.connected.transport.delete(stem.blueprint.entities)


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("backend")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rest", type=float, default=30.0, help="seconds at rest")
    parser.add_argument("--due", type=int, default=5_000, help="ticks at the same time")
    options = parser.parse_args()
    os.environ["STEM_BACKEND_URL"] = options.backend
    os.environ["STEM_NAMESPACE"] = f"sc-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
