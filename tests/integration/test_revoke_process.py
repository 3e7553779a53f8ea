"""Revocations of tasks that run in the pool of processes: their process ends, and no other one."""

import importlib
import os
import sys
import textwrap
import threading
import uuid
from pathlib import Path

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.errors import TaskFailedError

APPLICATION = """
    import os, time
    from stem_amqp import Stem

    stem = Stem()  # the test sets the broker

    @stem.task("hold", queue="q", executor="process", retry={"base": "10ms", "jitter": 0})
    def hold(path: str) -> int:
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\\n")
        while not os.path.exists(path + ".go"):
            time.sleep(0.01)
        return os.getpid()
"""


RABBITMQ = pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
"""With a broker in memory there is no pool."""


class Runs:
    """The runs of tasks, each of which writes its process id into a file.

    Args:
        folder: the folder of the files.
    """

    def __init__(self, folder):
        self._folder = folder

    def path(self, name):
        """Return the file of a task."""
        return str(self._folder / name)

    def pids(self, name):
        """Return the processes in which a task has begun to run."""
        path = Path(self.path(name))
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    async def begun(self, name):
        """Wait until a task runs, and return its process."""
        await eventually(lambda: self.pids(name), f"the run of {name}")
        return self.pids(name)[0]

    def release(self, name):
        """Let a task end."""
        Path(self.path(name) + ".go").touch()


@pytest.fixture
def runs(tmp_path):
    """Return the runs of tasks."""
    return Runs(tmp_path)


@pytest.fixture
def stem(broker_url, make_stem, tmp_path, monkeypatch):
    """Yield an application on RabbitMQ that the pool's two processes can import."""
    name = f"revoked_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(APPLICATION))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = make_stem().settings
    stem = importlib.import_module(name).stem
    stem.reconfigure(
        broker_url=broker_url,
        namespace=settings.namespace,
        backend_url=f"memory://{uuid.uuid4().hex}",
        pool_processes=2,
    )
    yield stem
    del sys.modules[name]


def alive(pid):
    """Return whether a process exists; the worker has waited for those that have ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def hold(stem, runs, *names):
    """Enqueue tasks that run until they are released."""
    return [await stem.enqueue("hold", {"path": runs.path(name)}) for name in names]


async def reason_of(handle):
    """Wait for a task that is revoked, and return the reason."""
    with pytest.raises(TaskFailedError) as caught:
        await handle.result(timeout=60)
    assert caught.value.state == "revoked"
    return caught.value.reason


@pytest.mark.timeout(300)
@RABBITMQ
async def test_the_process_of_a_revoked_run_is_ended_and_the_others_go_on(stem, runs):
    """A revoked task is not run again, one that waits for a process never starts, and the next one runs."""
    async with stem, stem.worker(["q"], name="w", concurrency=4).running() as worker:
        first, second = await hold(stem, runs, "a", "b")
        ended, other = await runs.begun("a"), await runs.begun("b")
        (waiting,) = await hold(stem, runs, "c")
        await eventually(lambda: len(worker._gauges.unsettled) == 3, "the job without a process")
        await stem.revoke(waiting.id, reason="not needed", terminate=True)
        assert await reason_of(waiting) == "not needed"
        answers = await stem.control.revoke(first.id, terminate=True, reason="too slow")
        obeyed = answers.values["w"]
        assert ([one.id for one in obeyed.ended], obeyed.not_ended) == ([first.id], ())
        assert await reason_of(first) == "too slow"
        assert not alive(ended)
        for name in ("a", "c", "d"):
            runs.release(name)
        (later,) = await hold(stem, runs, "d")
        assert await later.result(timeout=60) not in {ended, other, os.getpid()}
        runs.release("b")
        assert await second.result(timeout=60) == other
    assert [len(runs.pids(name)) for name in ("a", "b", "c", "d")] == [1, 1, 0, 1]
    assert not alive(other)


async def test_without_a_pool_the_answer_names_the_run_that_goes_on():
    """With a broker in memory such a task runs in a thread, which a revocation cannot end."""
    place = f"memory://{uuid.uuid4().hex}"
    stem = Stem(broker_url=place, backend_url=place)
    started, release = threading.Event(), threading.Event()

    @stem.task("block", queue="q", executor="process")
    def block() -> None:
        started.set()
        release.wait()

    async with stem, stem.worker(["q"], name="w").running():
        handle = await block.enqueue()
        await eventually(started.is_set, "the run")
        try:
            obeyed = (await stem.control.revoke(handle.id, terminate=True)).values["w"]
        finally:
            release.set()
        assert (obeyed.ended, [one.id for one in obeyed.not_ended]) == ((), [handle.id])
        assert await reason_of(handle)
