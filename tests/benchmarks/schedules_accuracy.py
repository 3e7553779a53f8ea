"""Measure whether ticks of schedules run exactly once and on time while schedulers are killed.

    python tests/benchmarks/schedules_accuracy.py redis://localhost:6379/0 --minutes 10

The broker is the one of STEM_BROKER_URL. Two schedulers run, and a worker; every few seconds one of the schedulers is
killed with SIGKILL and started again. Prints the ticks that were due, those that are lost or ran twice, how late they
ran, and how long it took until another scheduler led. With ``--still`` nothing is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from datetime import datetime
from pathlib import Path

from stem_amqp import Stem

APPLICATION = """
    import os
    import time
    from stem_amqp import Stem, TaskContext

    stem = Stem()
    book = os.open("book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def tick(ctx: TaskContext) -> None:
        os.write(book, f"{ctx.id} {time.time():.3f}\\n".encode())

    task = stem.task("tick", queue="ticks")(tick)
    for number in range(int(os.environ["SCHEDULES"])):
        stem.schedule(f"s{number}", task, every="1s")
"""
_LEADS = re.compile(r"^(\S+ \S+),(\d+) .* leads$", re.MULTILINE)


class Shop:
    """Two schedulers and a worker, in processes of their own.

    Args:
        folder: for the application, the runs and the logs.
        backend: the URL of the result backend.
        schedules: how many schedules tick each second.
    """

    def __init__(self, folder: Path, backend: str, schedules: int) -> None:
        self.folder = folder
        self.namespace = f"sa-{uuid.uuid4().hex[:8]}"
        self._environment = os.environ | {
            "STEM_NAMESPACE": self.namespace,
            "STEM_BACKEND_URL": backend,
            "STEM_LOG_SUCCESSES": "none",
            "SCHEDULES": str(schedules),
        }
        (folder / "application.py").write_text(textwrap.dedent(APPLICATION))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a process of the command line."""
        command = [sys.executable, "-m", "stem_amqp", *words]
        with (self.folder / f"log-{words[0]}").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, env=self._environment
            )

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler."""
        return self.start("scheduler", "application:stem")

    def terms(self) -> list[float]:
        """Return the times at which a scheduler began to lead."""
        path = self.folder / "log-scheduler"
        text = path.read_text() if path.exists() else ""
        return [
            datetime.fromisoformat(second).astimezone().timestamp() + int(rest) / 1000
            for second, rest in _LEADS.findall(text)
        ]

    def runs(self) -> list[tuple[str, float, float]]:
        """Return the runs: the schedule, the time of the tick, and of the run."""
        path = self.folder / "book"
        found = []
        text = path.read_text() if path.exists() else ""
        for line in text.rpartition("\n")[0].splitlines():  # the last one may be half written
            name, at = line.split()
            schedule, _, moment = name.partition("@")
            tick = datetime.fromisoformat(moment.partition("~")[0]).timestamp()
            found.append((schedule, tick, float(at)))
        return found

    async def clean_up(self, broker: str) -> None:
        """Delete what is on the broker."""
        stem = Stem(broker_url=broker, namespace=self.namespace, backend_url="memory://")
        stem.task("tick", queue="ticks")(lambda: None)
        async with stem:
            await stem.connected.transport.delete(stem.blueprint.entities)


def wait_for(holds: object, limit: float = 120.0) -> None:
    """Wait until a function returns something true."""
    end = time.monotonic() + limit
    while not holds():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def kill_at_random(shop: Shop, seconds: float, *, still: bool) -> list[float]:
    """Kill schedulers for a time; return the seconds until another one led, for each kill of a leader."""
    schedulers = [shop.scheduler(), shop.scheduler()]
    failovers = []
    try:
        wait_for(lambda: len(shop.runs()) > 0)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(random.uniform(1.0, 8.0) if not still else 1.0)
            if still:
                continue
            terms, at = len(shop.terms()), time.time()
            victim = random.randrange(2)
            schedulers[victim].kill()
            schedulers[victim].wait()
            schedulers[victim] = shop.scheduler()
            time.sleep(random.uniform(2.0, 6.0))
            if len(shop.terms()) > terms:
                failovers.append(shop.terms()[terms] - at)
    finally:
        for process in schedulers:
            process.terminate()
        for process in schedulers:
            process.wait()
    return failovers


def account(shop: Shop) -> dict[str, float]:
    """Return the counts: due, runs, lost, twice, and how late they were."""
    runs = shop.runs()
    ticks = [(schedule, tick) for schedule, tick, _ in runs]
    first = {name: min(t for s, t in ticks if s == name) for name in {s for s, _ in ticks}}
    last = min(max(t for s, t in ticks if s == name) for name in first)
    due = {(name, float(t)) for name in first for t in range(int(first[name]), int(last) + 1)}
    late = sorted(at - tick for _, tick, at in runs)
    return {
        "due": len(due),
        "runs": len(runs),
        "lost": len(due - set(ticks)),
        "twice": len(ticks) - len(set(ticks)),
        "median": statistics.median(late),
        "99 %": late[int(len(late) * 0.99)],
        "latest": late[-1],
        "more than 2 s late": sum(one > 2.0 for one in late),
    }


def main() -> None:
    """Measure, and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("backend")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--schedules", type=int, default=5)
    parser.add_argument("--still", action="store_true")
    options = parser.parse_args()
    broker = os.environ["STEM_BROKER_URL"]
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder), options.backend, options.schedules)
        worker = shop.start("worker", "application:stem", "--concurrency", "50")
        try:
            failovers = kill_at_random(shop, options.minutes * 60, still=options.still)
            time.sleep(12)
            for name, value in account(shop).items():
                print(f"{name:>20} {value:g}")
            if failovers:
                print(
                    f"{len(failovers)} leaders killed; another one led after"
                    f" {statistics.median(failovers):.2f} s (median), {max(failovers):.2f} s at most"
                )
        finally:
            worker.terminate()
            worker.wait()
            asyncio.run(shop.clean_up(broker))


if __name__ == "__main__":
    main()
