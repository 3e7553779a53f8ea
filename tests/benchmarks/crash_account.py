"""Compare enqueued tasks and outcomes while worker processes are killed by SIGKILL.

A worker of two processes runs tasks of 5 ms. Whenever another share of the tasks has run, one of
its processes is killed. Finally every enqueued task must have run; the tasks that ran more than
once are counted.
"""

import argparse
import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path

from stem_amqp import Stem

POLL = 0.02
"""Seconds between two checks of what has run."""
TIMEOUT = 240.0
"""Seconds in which all tasks have to run."""
APPLICATION = """
import asyncio, os, sqlite3
from stem_amqp import Stem

stem = Stem(backend_url="memory://none")
book = sqlite3.connect(os.environ["BOOK"], timeout=30, isolation_level=None)

@stem.task("work", queue="figures", ignore_result=True)
async def work(number: int) -> None:
    await asyncio.sleep(0.005)
    book.execute("INSERT INTO runs VALUES (?)", (number,))
"""


def ran(book: Path) -> tuple[int, int]:
    """Return the number of runs, and the number of tasks that ran."""
    with closing(sqlite3.connect(book)) as connection:
        query = "SELECT COUNT(*), COUNT(DISTINCT number) FROM runs"
        runs, distinct = connection.execute(query).fetchone()
    return runs, distinct


async def until_ran(book: Path, goal: int, deadline: float) -> None:
    """Wait until a number of tasks have run, or the time is over."""
    while ran(book)[1] < goal and time.monotonic() < deadline:
        await asyncio.sleep(POLL)


def children(parent: int) -> list[int]:
    """Return the child processes of a process."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in listed]


async def measure(count: int, kills: int) -> None:
    """Enqueue tasks, kill processes, and count the runs."""
    namespace = f"figures-{uuid.uuid4().hex[:6]}"
    stem = Stem(namespace=namespace, backend_url="memory://none")
    stem.task("work", queue="figures", ignore_result=True)(lambda number: None)
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder, "book.sqlite3")
        with sqlite3.connect(book) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE runs (number INTEGER)")
        Path(folder, "crashing.py").write_text(APPLICATION)
        environment = os.environ | {"BOOK": str(book), "STEM_NAMESPACE": namespace}
        command = [sys.executable, "-m", "stem_amqp", "worker", "crashing:stem"]
        options = ["-Q", "figures", "--concurrency", "20", "--processes", "2"]
        async with stem:
            print(f"broker: {stem.connected.broker}")
            worker = subprocess.Popen(
                command + options, cwd=folder, env=environment, stderr=subprocess.DEVNULL
            )
            try:
                calls = (stem.prepare("work", {"number": n}) for n in range(count))
                await stem.enqueue_many(calls)
                killed = 0
                deadline = time.monotonic() + TIMEOUT
                for share in range(1, kills + 1):
                    await until_ran(book, count * share // (kills + 1), deadline)
                    if pids := children(worker.pid):
                        os.kill(random.choice(pids), signal.SIGKILL)
                        killed += 1
                await until_ran(book, count, deadline)
            finally:
                worker.terminate()
                worker.wait(60)
                await stem.connected.transport.delete(stem.blueprint.entities)
        runs, distinct = ran(book)
        print(f"{count} tasks of 5 ms in, {killed} processes killed with SIGKILL")
        print(f"{distinct} tasks ran, {count - distinct} lost, {runs - distinct} runs repeated")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--kills", type=int, default=8)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.count, arguments.kills))


if __name__ == "__main__":
    main()
