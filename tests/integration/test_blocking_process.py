"""Test the blocking producer in separate processes: forks, and the interpreter's exit."""

import os
import subprocess
import sys
import time
import uuid

import pytest

from stem_amqp import Stem

APP = """
import multiprocessing, os, sys, threading, time
from stem_amqp import Stem

stem = Stem(backend_url="memory://")

@stem.task("sums.add", queue="q")
def add(first: int) -> int:
    return first

def child_ended(pid):
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
"""
FORKING = ("-W", "ignore::DeprecationWarning")
"""From Python 3.12 on, a fork beside threads emits this warning; the tests check that it works."""
QUICKLY = 15.0
"""Maximum seconds from the last statement of a program to its end."""

FORKS = {
    "os.fork": """
with stem.blocking() as producer:
    producer.enqueue(add, 1)
    pid = os.fork()
    producer.enqueue(add, 2)      # parent and child both go on
    if pid == 0:
        producer.enqueue(add, 3)
        producer.close()
        sys.exit(0)
    child_ended(pid)
    producer.enqueue(add, 4)      # the parent's connection is as it was
""",
    "a fork while other threads enqueue": """
producer = stem.blocking()
def work():
    for number in range(100):
        producer.enqueue(add, number)
workers = [threading.Thread(target=work) for _ in range(4)]
for worker in workers:
    worker.start()
pids = []
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        producer.enqueue(add, 1)
        os._exit(0)
    pids.append(pid)
for pid in pids:
    child_ended(pid)
for worker in workers:
    worker.join()
""",
    "multiprocessing": """
add.enqueue_blocking(1)
def work():
    add.enqueue_blocking(2)
    add.enqueue_blocking(3)
children = [multiprocessing.get_context("fork").Process(target=work) for _ in range(3)]
for child in children:
    child.start()
for child in children:
    child.join()
assert [child.exitcode for child in children] == [0, 0, 0]
add.enqueue_blocking(4)
""",
    "workers of a preloaded application": """
add.enqueue_blocking(0)           # at import, in the arbiter
pids = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        views = [threading.Thread(target=add.enqueue_blocking, args=(n,)) for n in range(10)]
        for view in views:
            view.start()
        for view in views:
            view.join()
        sys.exit(0)               # and the exit closes the child's own connection
    pids.append(pid)
for pid in pids:
    child_ended(pid)
add.enqueue_blocking(1)
""",
    "a child that never enqueues": """
add.enqueue_blocking(0)
pid = os.fork()
if pid == 0:
    sys.exit(0)
child_ended(pid)
add.enqueue_blocking(1)
""",
}
FORKS["a fork that Python is not told of"] = """
import ctypes
add.enqueue_blocking(0)
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    add.enqueue_blocking(1)
    os._exit(0)
child_ended(pid)
add.enqueue_blocking(2)
"""
SENT = {
    "a fork that Python is not told of": 3,
    "os.fork": 5,
    "a fork while other threads enqueue": 405,
    "multiprocessing": 8,
    "workers of a preloaded application": 32,
    "a child that never enqueues": 2,
}
EXITS = {
    "the end of the program": (0, "add.enqueue_blocking(1)"),
    "sys.exit in the middle of a block": (
        3,
        """
with stem.blocking() as producer:
    producer.enqueue(add, 1)
    print(time.time(), flush=True)
    sys.exit(3)
""",
    ),
    "sys.exit without with": (4, "stem.blocking().enqueue(add, 1)\nsys.exit(4)"),
    "an exit beside a thread that waits for ever": (
        0,
        """
handle = add.enqueue_blocking(1)
threading.Thread(target=handle.result, daemon=True).start()
""",
    ),
    "an exit before the connection is there": (
        0,
        "threading.Thread(target=add.enqueue_blocking, args=(1,)).start()",
    ),
}


def run(program, environment, *flags, typed=None):
    """Run a program, or typed input, and return how it ended."""
    cleaned = {k: v for k, v in os.environ.items() if not k.startswith("STEM_")}
    return subprocess.run(
        [sys.executable, *flags, "-c", program],
        env=cleaned | environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture
def namespace():
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def environment(stem_broker_url, namespace):
    """Return the environment variables of the programs."""
    return {"STEM_BROKER_URL": stem_broker_url, "STEM_NAMESPACE": namespace}


@pytest.fixture
async def sent(stem_broker_url, namespace):
    """Yield a function that counts the arrived tasks, and delete all entities afterwards."""
    app = Stem(broker_url=stem_broker_url, namespace=namespace, backend_url="memory://")
    app.task("sums.add", queue="q")(lambda first: first)
    name = app.names.work("q")

    async def count():
        return (await app.connected.transport.status([name]))[name].ready

    async with app:
        yield count
        await app.connected.transport.delete(app.blueprint.entities)


@pytest.mark.parametrize("name", FORKS)
async def test_parent_and_child_of_a_fork_both_go_on(name, environment, sent):
    """Parent and child have separate connections; every task arrives, and nothing is logged."""
    ended = run(APP + FORKS[name], environment, *FORKING)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert await sent() == SENT[name]


@pytest.mark.parametrize("name", [name for name in FORKS if "threads" not in name])
def test_a_fork_with_the_broker_in_memory(name):
    """The child has its own broker, a copy of the parent's."""
    url = {"STEM_BROKER_URL": "memory://forked", "STEM_NAMESPACE": "forked"}
    ended = run(APP + FORKS[name], url, *FORKING)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("name", EXITS)
async def test_the_interpreter_exits_soon_and_quietly(name, environment, sent):
    """The exit code is the requested one, there is no traceback, and the task is on the broker."""
    code, program = EXITS[name]
    last = "import atexit\natexit.register(lambda: print('exit', time.time(), flush=True))\n"
    ended = run(APP + last + program, environment)
    at = float(ended.stdout.split()[-1])
    assert time.time() - at < QUICKLY
    assert (ended.returncode, ended.stderr) == (code, "")
    assert await sent() == 1


async def test_an_exit_from_the_prompt(environment, sent):
    """The interactive interpreter exits at the end of its input."""
    lines = [*APP.splitlines(), "", "add.enqueue_blocking(1).state()"]
    typed = "".join(f"{line}\n" for line in lines)
    ended = run("", environment, "-i", "-q", typed=typed)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert "QUEUED" in ended.stdout
    assert await sent() == 1
