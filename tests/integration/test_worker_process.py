"""Test what tasks do to their process: forks, signals, closed streams, logging configuration."""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import uuid

import pytest
from support import eventually

from stem_amqp import Stem

APPLICATION = """
    import asyncio, logging.config, multiprocessing, os, signal, subprocess, sys, time
    from stem_amqp import Stem, TaskContext

    stem = Stem()
    LOGGING = {"version": 1, "root": {"level": "WARNING", "handlers": []}}
    logging.config.dictConfig(LOGGING)  # disables all loggers that are there, as it does by default
    fork = multiprocessing.get_context("fork")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup, which ignores it

    def end(process, number):
        os.kill(process.pid, number)
        # Python 3.13 may overlook a SIGINT that comes before a child forked by a thread is asleep
        tries = 20 if number == signal.SIGINT else 1
        while tries and process.exitcode is None:
            process.join(10 / tries)
            tries -= 1
            if tries and process.exitcode is None:
                os.kill(process.pid, number)
        return process.exitcode

    def forked(number):
        process = fork.Process(target=time.sleep, args=(60,))
        process.start()
        return end(process, number)

    @stem.task("fork.sync", queue="q")
    def fork_sync(number: int, times: int) -> list[int | None]:
        return [forked(number) for _ in range(times)]

    @stem.task("fork.async", queue="q")
    async def fork_async(number: int, times: int) -> list[int | None]:
        return [forked(number) for _ in range(times)]

    @stem.task("fork.process", queue="q", executor="process")
    def fork_process(number: int, times: int) -> list[int | None]:
        return [forked(number) for _ in range(times)]

    def by_hand(leave):
        pid = os.fork()
        if pid == 0:
            if leave == "exit":
                sys.exit(7)
            if leave == "raise":
                raise ValueError("in the child")
            return 0  # comes out of the task's function, in the child
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    @stem.task("hand.sync", queue="q")
    def hand_sync(leave: str) -> int:
        return by_hand(leave)

    @stem.task("hand.async", queue="q")
    async def hand_async(leave: str) -> int:
        return by_hand(leave)

    @stem.task("command", queue="q")
    def command() -> list[int]:
        codes = []
        for options in ({}, {"preexec_fn": lambda: None}, {"start_new_session": True}):
            process = subprocess.Popen(["sleep", "60"], **options)
            process.terminate()
            codes.append(process.wait(60))
        return codes

    @stem.task("interrupt", queue="q", max_retries=0)
    async def interrupt(kind: str) -> None:
        async def child():
            raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[kind]()

        await asyncio.gather(child())

    @stem.task("left", queue="q")
    async def left() -> str:
        async def child():
            raise SystemExit(1)

        global background
        background = asyncio.create_task(child())
        return "left"

    class LocalError(Exception):
        def __init__(self, number, handle):
            super().__init__(handle)

        def __reduce__(self):
            raise TypeError("not to be pickled")

    @stem.task("raise.process", queue="q", executor="process", max_retries=0)
    def raise_process(ctx: TaskContext, kind: str) -> None:
        ctx.progress(0.5, message="\\udcff", data=10**30)
        if kind == "StopIteration":
            next(iter([]))
        raise {
            "KeyboardInterrupt": lambda: KeyboardInterrupt(),
            "SystemExit": lambda: SystemExit(3),
            "GeneratorExit": lambda: GeneratorExit(),
            "SyntaxError": lambda: SyntaxError("bad", ("page.html", 3, "column 7", "{%")),
            "LocalError": lambda: LocalError(1, open(os.devnull)),
            "ValueError": lambda: ValueError("\\udcff" * 100),
        }[kind]()

    @stem.task("pid", queue="q", executor="process")
    def pid() -> int:
        return os.getpid()

    @stem.task("where", queue="q", executor="process")
    def where() -> str:
        print("written", flush=True)
        print("written", file=sys.stderr, flush=True)
        return sys.stdin.read() + "read"
"""


class Program:
    """A worker process, started by a shell."""

    def __init__(self, folder, stem, backend):
        self.folder = folder
        (folder / "application.py").write_text(textwrap.dedent(APPLICATION))
        self.environment = os.environ | {
            "STEM_BROKER_URL": stem.settings.broker_url[0].get_secret_value(),
            "STEM_NAMESPACE": stem.settings.namespace,
            "STEM_BACKEND_URL": backend,
            "STEM_POOL_PROCESSES": "1",
        }
        self.process = None

    def start(self, *options, redirect=""):
        words = [sys.executable, "-m", "stem_amqp", "worker", "application:stem", "-Q", "q"]
        command = f"exec {shlex.join([*words, *options])} 2>worker.log {redirect}"
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command], cwd=self.folder, env=self.environment
        )

    def log(self):
        path = self.folder / "worker.log"
        return path.read_text() if path.exists() else ""

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 30)


@pytest.fixture
async def rabbit(stem_broker_url, tmp_path):
    """Yield an application on RabbitMQ with results in a file, and a worker process for it."""
    backend = f"sqlite:///{tmp_path}/results.db"
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    stem = Stem(broker_url=stem_broker_url, namespace=namespace, backend_url=backend)
    stem.task("declares", queue="q")(lambda: None)
    program = Program(tmp_path, stem, backend)
    async with stem:
        yield stem, program
        sys.stdout.write(program.log())  # shown if the test fails
        if program.process is not None and program.process.poll() is None:
            program.process.kill()
            program.process.wait()
        await stem.connected.transport.delete(stem.blueprint.entities)


async def ask(stem, task, **args):
    handle = await stem.enqueue(task, args, queue="q")
    return await handle.result(timeout=60)


@pytest.mark.parametrize("how", ["sync", "async", "process"])
async def test_a_task_may_end_the_children_that_it_forks(rabbit, how):
    """Killing a forked child by a signal that the worker handles does not affect the worker."""
    stem, program = rabbit
    program.start()
    ends = {signal.SIGTERM: -signal.SIGTERM, signal.SIGHUP: -signal.SIGHUP, signal.SIGINT: 1}
    for number, code in ends.items():
        codes = await ask(stem, f"fork.{how}", number=number, times=10)
        # SIGINT may arrive before Python is ready in the child, and then ends it
        assert set(codes) <= {code, -signal.SIGINT if code == 1 else code}
    assert program.process.poll() is None
    assert "stopping" not in program.log()
    assert await program.stop() == 0


async def test_a_child_that_leaves_its_task_is_no_second_worker(rabbit):
    """The child exits like a program, and commands that a task starts can be ended."""
    stem, program = rabbit
    program.start()
    for how in ("sync", "async"):
        for leave, code in {"exit": 7, "raise": 1, "return": 0}.items():
            assert await ask(stem, f"hand.{how}", leave=leave) == code
    assert await ask(stem, "command") == [-signal.SIGTERM] * 3
    assert await program.stop() == 0


async def test_every_failure_comes_back_from_the_pool_and_its_process_lives_on(rabbit):
    """The error returns as text; nothing is pickled."""
    from stem_amqp import TaskFailedError

    stem, program = rabbit
    program.start()
    before = await ask(stem, "pid")
    for kind in (
        "StopIteration",
        "KeyboardInterrupt",
        "SystemExit",
        "GeneratorExit",
        "SyntaxError",
        "LocalError",
        "ValueError",
    ):
        with pytest.raises(TaskFailedError, match=kind) as caught:
            await ask(stem, "raise.process", kind=kind)
        assert caught.value.reason == "retries-exhausted"
        assert "in raise_process" in caught.value.traceback
    assert await ask(stem, "pid") == before
    assert await program.stop() == 0


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "SystemExit"])
async def test_what_background_tasks_raise_does_not_end_the_worker(rabbit, kind):
    """Code that awaits the background task gets the error; otherwise the log has it."""
    from stem_amqp import TaskFailedError

    stem, program = rabbit
    program.start()
    for _ in range(3):
        with pytest.raises(TaskFailedError, match=kind):
            await ask(stem, "interrupt", kind=kind)
    assert await ask(stem, "left") == "left"
    assert await ask(stem, "left") == "left"
    await eventually(lambda: "a background task has raised" in program.log(), "the log")
    assert await program.stop() == 0


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("redirect", ["<&-", ">&-", "<&- >&- 2>&-"])
async def test_closed_standard_streams_are_the_null_device(rabbit, redirect, processes):
    """This holds for the pool's processes, and for those of --processes."""
    stem, program = rabbit
    program.start("--processes", processes, redirect=redirect)
    assert await ask(stem, "where") == "read"
    assert await ask(stem, "where") == "read"
    assert await program.stop() == 0
    assert "Assertion" not in program.log()


async def test_an_application_that_sets_up_logging_does_not_silence_the_worker(rabbit):
    """The log has the worker's ready line, its dead letters and its end."""
    stem, program = rabbit
    program.start()
    from stem_amqp import TaskFailedError

    with pytest.raises(TaskFailedError):
        await ask(stem, "interrupt", kind="SystemExit")
    await eventually(lambda: "is dead-lettered to q.dlq" in program.log(), "the dead letter")
    assert " is ready: q x10" in program.log()
    assert await program.stop() == 0
    assert "has stopped" in program.log()
