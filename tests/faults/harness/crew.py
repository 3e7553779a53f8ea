"""Producers and workers in separate processes, and the account of their tasks."""

import asyncio
import json
import os
import signal
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

from faults.harness.account import Ledger
from forked_python import parent_of_programs, start_python
from support import until

from stem_amqp import Stem
from stem_amqp.topology.entities import Entities, Queue

HERE = Path(__file__).parent
MILLION = 1_000_000
STOP_TIMEOUT = 60.0


class Crew:
    """The processes of one test, on one broker, in a separate namespace.

    Args:
        ledger: the books of the processes.
        url: the broker's URL, or several with commas.
        via: the URL that the processes use instead, such as a proxy's.
        backend_url: the result backend's URL.
        **environment: further variables, such as ``STEM_PUBLISH_TIMEOUT``.
    """

    def __init__(self, ledger, url, *, via=None, backend_url="rpc://", **environment):
        self.ledger = ledger
        self.namespace = f"f-{uuid.uuid4().hex[:8]}"
        self._url = url
        self.environment = os.environ | {
            "FAULTS_FOLDER": str(ledger.folder),
            "STEM_BROKER_URL": via or url,
            "STEM_NAMESPACE": self.namespace,
            "STEM_BACKEND_URL": backend_url,
            **environment,
        }
        self.producers, self.workers = [], []

    def work(self, concurrency=20, *, app="application:stem", queues=(), **environment):
        """Start a worker, and return its process."""
        words = ["-m", "stem_amqp", "worker", app, "--parent", str(parent_of_programs())]
        words += ["--concurrency", str(concurrency)]
        words += [word for queue in queues for word in ("-Q", queue)]
        self.workers.append(self._start(words, environment))
        return self.workers[-1]

    def produce(self, count=MILLION, rate=100.0, delay=0.0):
        """Start a producer, whose tasks have unique numbers, and return its process."""
        first = (len(self.producers) + 1) * MILLION
        words = ["produce.py", str(first), str(count), str(rate), str(delay)]
        self.producers.append(self._start(words, {}))
        return self.producers[-1]

    def under_load(self, workers=1, **options):
        """Start workers and a producer, and return once 50 tasks have finished."""
        for _ in range(workers):
            self.work()
        self.produce(**options)
        self.ledger.progress("finished", 50)

    def log(self):
        """Return the log of the processes."""
        path = self.ledger.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def finish(self, timeout=90.0):
        """Stop the producers, let the workers finish, stop them, and return the tally.

        Args:
            timeout: seconds in which the workers may finish the acknowledged tasks.

        Raises:
            AssertionError: a worker ended with another exit code than 0.
        """
        self.end(self.producers)
        with suppress(AssertionError):  # unfinished tasks are looked up in the queues
            until(lambda: not self.ledger.outstanding(), "every task", timeout)
        codes = self.end(self.workers)
        assert not any(codes), f"exit codes {codes}\n{self.log()[-3000:]}"
        return self.count()

    def count(self, also=None):
        """Return the tally of the books and the queues.

        Args:
            also: another queue whose tasks count as queued.
        """
        queued = self.numbers(f"{self.namespace}.q") | (self.numbers(also) if also else set())
        return self.ledger.close(queued, self.numbers(f"{self.namespace}.q.dlq"))

    def numbers(self, queue):
        """Return the numbers of the tasks that are ready in a queue; none if it does not exist."""
        return asyncio.run(self._numbers(queue))

    def end(self, processes):
        """Stop the running processes with SIGTERM, and return their exit codes."""
        running = [process for process in processes if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        return [process.wait(STOP_TIMEOUT) for process in running]

    def kill(self, process):
        """Kill a process and its children with SIGKILL."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT)

    def stem(self, **settings):
        """Return the same application for this process, with other settings."""
        stem = Stem(
            broker_url=self._url,
            namespace=self.namespace,
            backend_url="memory://",
        )
        stem.reconfigure(provision="none", **settings)
        stem.task("note", queue="q")(lambda number: None)
        return stem

    async def _numbers(self, queue):
        async with self.stem() as stem:
            transport = stem.connected.transport
            if (await transport.status([queue]))[queue] is None:
                return set()
            async with transport.browse(queue) as deliveries:
                return {json.loads(d.body)["args"]["number"] async for d in deliveries}

    async def _delete(self):
        async with self.stem() as stem:
            await stem.connected.transport.delete(stem.blueprint.entities)
            versions = [Queue(name=name) for name in stem.names.works("q", 1).values()]
            await stem.connected.transport.delete(Entities(queues=tuple(versions)))

    def queues(self):
        """Return the names of the existing versions of the work queue."""
        return asyncio.run(self._versions())

    async def _versions(self):
        async with self.stem() as stem:
            names = stem.names.works("q", 1).values()
            status = await stem.connected.transport.status(names)
            return {name for name, found in status.items() if found is not None}

    def clean_up(self):
        """Kill the processes, and delete the namespace's entities."""
        for process in self.producers + self.workers:
            self.kill(process)
        asyncio.run(self._delete())

    def _start(self, words, environment):
        with (self.ledger.folder / "log").open("ab") as log:
            return start_python(
                *words,
                cwd=HERE,
                env=self.environment | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@contextmanager
def crew_on(fault, folder, url, **options):
    """Yield a crew, and end everything that it started at the end of the block."""
    crew = Crew(Ledger(fault, folder), url, **options)
    try:
        yield crew
    finally:
        crew.clean_up()
