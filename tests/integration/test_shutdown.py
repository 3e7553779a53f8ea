"""Test the steps of a shutdown: stop consuming, grace period, cancel, requeue."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest
from support import eventually

from stem_amqp import Stem, TaskState


async def ready(stem, queue="q"):
    """Return the number of ready messages of a work queue."""
    name = stem.names.work(queue)
    return (await stem.connected.transport.status([name]))[name].ready


async def test_stop_lets_running_tasks_finish_and_requeues_the_others(stem):
    """Running tasks are settled; deliveries that wait for a slot are requeued."""
    entered, release = asyncio.Event(), asyncio.Event()

    @stem.task("slow", queue="q")
    async def slow(number: int) -> int:
        entered.set()
        await release.wait()
        return number

    async with stem:
        handles = [await slow.enqueue(n) for n in range(5)]
        worker = stem.worker(concurrency=1, prefetch=4)
        task = asyncio.create_task(worker.run())
        await entered.wait()
        await eventually(lambda: ready_is(stem, 1), "four deliveries")
        worker.stop("test")
        assert await eventually(lambda: ready_is(stem, 4), "four back in the queue")
        release.set()
        await asyncio.wait_for(task, 60)
        assert await handles[0].result(timeout=60) == 0
        assert await ready(stem) == 4


async def ready_is(stem, count):
    """Return whether the work queue has a number of ready messages."""
    return await ready(stem) == count


async def test_after_the_grace_period_tasks_are_cancelled_and_given_back(make_stem):
    """The message is in the queue again, and its state is not a failure."""
    stem = make_stem(backend_url=f"memory://{uuid.uuid4().hex}")
    stem.reconfigure(grace_period=0.1)
    entered, cancelled = asyncio.Event(), asyncio.Event()

    @stem.task("endless", queue="q")
    async def endless() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with stem:
        handle = await endless.enqueue()
        async with stem.worker().running():
            await entered.wait()
        assert cancelled.is_set()
        assert await eventually(lambda: ready_is(stem, 1), "the message in the queue")
        assert (await handle.status()).state is TaskState.RUNNING


async def test_a_second_stop_hurries(make_stem):
    """The second stop ends a grace period of an hour."""
    stem = make_stem(backend_url=f"memory://{uuid.uuid4().hex}")
    stem.reconfigure(grace_period=3600)
    entered = asyncio.Event()

    @stem.task("endless", queue="q")
    async def endless() -> None:
        entered.set()
        await asyncio.Event().wait()

    async with stem:
        await endless.enqueue()
        worker = stem.worker()
        task = asyncio.create_task(worker.run())
        await entered.wait()
        worker.stop("first")
        worker.stop("second")
        await asyncio.wait_for(task, 60)
        assert await eventually(lambda: ready_is(stem, 1), "the message in the queue")


async def test_a_cancelled_worker_requeues_running_tasks(stem):
    """The end of an embedding program's event loop is not a failure of its tasks."""
    # In memory the message comes back at once, to the worker that does not stop consuming until later
    stem.reconfigure(grace_period=0.1)
    entered = asyncio.Event()

    @stem.task("endless", queue="q")
    async def endless() -> None:
        entered.set()
        await asyncio.Event().wait()

    async with stem:
        handle = await endless.options(max_retries=0).enqueue()
        worker = asyncio.create_task(stem.worker().run())
        await entered.wait()
        jobs = [t for t in asyncio.all_tasks() if "QueueConsumer._work" in repr(t.get_coro())]
        for task in (worker, *jobs):
            task.cancel()
        await asyncio.wait({worker})
        assert jobs
        assert await eventually(lambda: ready_is(stem, 1), "the message in the queue")
        assert (await handle.status()).state is TaskState.RUNNING


APPLICATION = """
    import asyncio, os, pathlib, time
    from stem_amqp import Stem

    stem = Stem(backend_url="memory://none")
    folder = pathlib.Path(os.environ["FOLDER"])

    @stem.task("slow", queue="q", ignore_result=True)
    async def slow(number: int, seconds: float) -> None:
        (folder / f"{number}.started").touch()
        while not (folder / "go").exists():
            await asyncio.sleep(seconds)
        (folder / f"{number}.done").touch()

    @stem.task("thread", queue="q", ignore_result=True)
    def thread(number: int, seconds: float) -> None:
        (folder / f"{number}.started").touch()
        time.sleep(seconds)
        (folder / f"{number}.done").touch()
"""


class Process:
    """A `stem-amqp worker` process, and the folder in which its tasks leave marks."""

    def __init__(self, folder, url, namespace):
        self.folder = folder
        (folder / "application.py").write_text(textwrap.dedent(APPLICATION))
        self.environment = os.environ | {
            "FOLDER": str(folder),
            "STEM_BROKER_URL": url,
            "STEM_NAMESPACE": namespace,
        }
        self.process = None

    def start(self, *options):
        command = [sys.executable, "-m", "stem_amqp", "worker", "application:stem", "-Q", "q"]
        self.log = (self.folder / "worker.log").open("w+")
        self.process = subprocess.Popen(
            [*command, *options], cwd=self.folder, env=self.environment, stderr=self.log
        )

    async def marked(self, *marks):
        """Wait until tasks have left these marks."""
        await eventually(
            lambda: all((self.folder / mark).exists() for mark in marks), f"{marks}: {self.text()}"
        )

    async def logged(self, text):
        """Wait until the log has a text."""
        await eventually(lambda: text in self.text(), text)

    def go(self):
        """Let slow tasks end."""
        (self.folder / "go").touch()

    async def wait(self, timeout=60):
        """Wait for the end of the process, and return its exit code."""
        return await asyncio.to_thread(self.process.wait, timeout)

    def text(self):
        return (self.folder / "worker.log").read_text()


@pytest.fixture
async def rabbit(stem_broker_url, tmp_path):
    """Yield an application on RabbitMQ, and a worker process for it."""
    stem = Stem(
        broker_url=stem_broker_url,
        namespace=f"t-{uuid.uuid4().hex[:8]}",
        backend_url="memory://none",
    )
    stem.task("declares", queue="q")(lambda: None)
    process = Process(tmp_path, stem_broker_url, stem.settings.namespace)
    async with stem:
        yield stem, process
        if process.process is not None:
            process.process.kill()
            process.process.wait()
            process.log.close()
        await stem.connected.transport.delete(stem.blueprint.entities)


async def send(stem, name, *calls):
    """Enqueue calls of a task that this process does not define."""
    for number, seconds in calls:
        await stem.enqueue(name, {"number": number, "seconds": seconds}, queue="q")


async def test_sigterm_ends_a_worker_with_exit_code_0_and_nothing_lost(rabbit):
    """The running task finishes, and the waiting ones stay in the queue."""
    stem, process = rabbit
    await send(stem, "slow", (1, 0.05), (2, 0.05), (3, 0.05))
    process.start("--concurrency", "1")
    await process.marked("1.started")
    process.process.send_signal(signal.SIGTERM)
    await process.logged("stopping")
    process.go()
    assert await process.wait() == 0, process.text()
    assert (process.folder / "1.done").exists()
    assert not (process.folder / "2.started").exists()
    assert await ready(stem) == 2


async def test_a_thread_that_does_not_end_cannot_hold_the_worker(rabbit):
    """After the grace period the message is requeued, and the exit code is 0."""
    stem, process = rabbit
    await send(stem, "thread", (1, 600))
    process.start("--concurrency", "1", "--grace", "300ms")
    await process.marked("1.started")
    process.process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0, process.text()
    assert not (process.folder / "1.done").exists()
    assert await eventually(lambda: ready_is(stem, 1), "the message in the queue")


async def test_a_killed_child_is_started_again_and_its_task_runs_again(rabbit):
    """--processes 2 keeps two children; the deliveries of the dead one are requeued."""
    stem, process = rabbit
    process.start("--concurrency", "1", "--processes", "2")
    await send(stem, "slow", (1, 0.05), (2, 0.05))
    await process.marked("1.started", "2.started")
    parent = process.process.pid
    children = await asyncio.to_thread(Path(f"/proc/{parent}/task/{parent}/children").read_text)
    for mark in process.folder.glob("*.started"):
        mark.unlink()
    os.kill(int(children.split()[0]), signal.SIGKILL)
    await eventually(lambda: list(process.folder.glob("*.started")), "the second run")
    process.go()
    await process.marked("1.done", "2.done")
    process.process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0, process.text()
    assert await ready(stem) == 0
    assert len(list(process.folder.glob("*.started"))) == 1
