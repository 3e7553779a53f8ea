"""Test the blocking producer on both brokers: threads, errors, recovery, results."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import PATIENCE

from stem_amqp import Stem
from stem_amqp.blocking import waiting
from stem_amqp.blocking.handle import BlockingHandle
from stem_amqp.errors import (
    ArgumentsError,
    BrokerError,
    BrokerUnavailableError,
    ConfigurationError,
    EnqueueManyError,
    PublishTimeoutError,
    ResultTimeoutError,
    StemError,
    TaskFailedError,
    UnroutableError,
)
from stem_amqp.states import TaskState


def add(app):
    @app.task("sums.add", queue="q", max_retries=0)
    def add(first: int, second: int = 0) -> int:
        if first < 0:
            raise ValueError("too small")
        return first + second

    return add


def ready(producer, app):
    """Return the number of ready tasks in the queue."""
    name = app.names.work("q")

    async def count(connected):
        status = (await connected.transport.status([name]))[name]
        return status.ready

    return producer.ask(count, instead="", unclear="")


def reaches(holds):
    """Wait in a plain thread until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def threads():
    return [one for one in threading.enumerate() if one.name.startswith("stem-amqp blocking")]


@pytest.fixture
def task(stem):
    yield add(stem)
    stem.blocking_producer.close()
    assert threads() == []


def test_with_opens_and_closes(stem, task):
    """After the block the producer's thread has ended."""
    with stem.blocking() as producer:
        first = producer.enqueue(task, 1, second=2)
        second = producer.enqueue(task.options(meta={"by": "me"}), first=3)
        third = producer.enqueue("sums.add", args={"first": 4})
        assert (first.task, first.queue, first.existing) == ("sums.add", "q", False)
        assert len({first.id, second.id, third.id}) == 3
        assert ready(producer, stem) == 3
        assert first.state() is TaskState.QUEUED
        assert "sums.add" in repr(first)
        assert "open" in repr(producer)
    assert threads() == []


def test_without_with_it_opens_on_first_use_and_again_after_close(stem, task):
    """Making a producer opens nothing, and closing it twice is no error."""
    producer = stem.blocking()
    assert threads() == []
    producer.enqueue(task, 1)
    assert len(threads()) == 1
    producer.close()
    producer.close()
    producer.enqueue(task, 2)
    assert ready(producer, stem) == 2
    producer.close()


async def test_results_come_back(stem, task):
    """Results arrive beside a worker in this process; in memory, from the worker's event loop."""

    def view():
        with stem.blocking() as producer:
            handle = producer.enqueue(task, 1, second=2)
            assert handle.result(timeout=PATIENCE) == 3
            assert handle.state() is TaskState.SUCCEEDED
            assert handle.status().result == b"3"
            assert handle.progress() is None
            assert producer.handle(handle.id).result(timeout="60s") == 3
            with pytest.raises(TaskFailedError, match="too small"):
                producer.enqueue(task, -1).result(timeout=PATIENCE)
        return task.options(meta={"a": 1}).enqueue_blocking(4).result(timeout=PATIENCE)

    async with stem, stem.worker().running():
        assert await asyncio.to_thread(view) == 4
        await asyncio.to_thread(stem.blocking_producer.close)


def test_a_result_that_does_not_come_is_a_timeout(stem, task):
    """The task continues."""
    with stem.blocking() as producer:
        handle = producer.enqueue(task, 1)
        with pytest.raises(ResultTimeoutError, match="Is a worker running"):
            handle.result(timeout="100ms")


def test_eight_threads_share_one(stem, task):
    """Each of eight times 500 tasks is in the queue once."""
    with stem.blocking() as producer, ThreadPoolExecutor(8) as pool:

        def enqueue(number):
            return [producer.enqueue(task, number, second=one).id for one in range(500)]

        ids = [one for part in pool.map(enqueue, range(8)) for one in part]
        assert len(set(ids)) == 4000
        assert ready(producer, stem) == 4000
        assert len(threads()) == 1
        assert browsed(producer, stem) == sorted(ids)


def browsed(producer, app):
    """Return the ids of the tasks in the queue."""

    async def look(connected):
        async with connected.transport.browse(app.names.work("q")) as deliveries:
            return sorted([delivery.correlation_id async for delivery in deliveries])

    return producer.ask(look, instead="", unclear="")


def test_many_are_read_in_the_thread_of_their_caller(make_stem):
    """The calls are read one window at a time, in their order."""
    app = make_stem(backend_url="memory://")
    app.reconfigure(publish_window=7)
    task, readers = add(app), set()

    def calls():
        for number in range(30):
            readers.add(threading.current_thread())
            yield task.prepare(number)

    with app.blocking() as producer:
        handles = producer.enqueue_many(calls())
        assert ready(producer, app) == 30
        assert browsed(producer, app) == sorted(handle.id for handle in handles)
        assert producer.enqueue_many([]) == []
    assert readers == {threading.main_thread()}


def test_many_that_are_refused_are_named_and_the_rest_is_not_read(make_stem):
    """If no call of a window is accepted, the next window is not read."""
    app = make_stem(backend_url="memory://")
    app.reconfigure(publish_window=5)
    task, nowhere = add(app), {"queue": "nowhere"}
    calls = [task.prepare(0), *[task.options(**nowhere).prepare(n) for n in range(20)]]
    waiting = iter(calls)
    with app.blocking() as producer, pytest.raises(EnqueueManyError) as caught:
        producer.enqueue_many(waiting)
    assert (sorted(caught.value.done), sorted(caught.value.failed)) == ([0], list(range(1, 10)))
    assert isinstance(caught.value.done[0], BlockingHandle)
    assert len(list(waiting)) == 11
    assert "from position 10 on were not tried" in caught.value.__notes__[0]


def test_wrong_calls_say_what_is_wrong_and_send_nothing(stem, task):
    """The errors are those of the asynchronous enqueue."""
    with stem.blocking() as producer:
        with pytest.raises(ArgumentsError):
            producer.enqueue(task, "x" * 3)
        with pytest.raises(ArgumentsError):
            task.enqueue_blocking()
        with pytest.raises(ConfigurationError, match="not a task"):
            producer.enqueue(print, 1)
        with pytest.raises(ConfigurationError):
            producer.enqueue("two words")
        with pytest.raises(ConfigurationError):
            producer.enqueue("unknown.task", args={"what": object()}, queue="q")
        with pytest.raises(UnroutableError, match="nowhere"):
            producer.enqueue("unknown.task", queue="nowhere")
        assert ready(producer, stem) == 0
    with pytest.raises(ConfigurationError, match="more than 0"):
        stem.blocking(timeout=0)


async def test_in_an_event_loop_the_remedy_is_named(stem, task):
    """A blocking call would stop the event loop."""
    producer = stem.blocking()
    with pytest.raises(StemError, match=r"await task\.enqueue"):
        producer.enqueue(task, 1)
    with pytest.raises(StemError, match=r"await stem\.enqueue_many"):
        producer.enqueue_many([task.prepare(1)])
    with pytest.raises(StemError, match=r"await stem\.connect"):
        producer.open()
    with pytest.raises(StemError, match=r"await task\.enqueue"):
        task.enqueue_blocking(1)
    assert threads() == []


def test_a_broker_that_does_not_exist_is_an_error_at_once():
    """No server listens on port 1."""
    app = Stem(broker_url="amqp://guest:guest@localhost:1", backend_url="memory://")
    task, begun = add(app), time.monotonic()
    producer = app.blocking(timeout="2s")
    with pytest.raises(BrokerUnavailableError):
        producer.enqueue(task, 1)
    assert time.monotonic() - begun < 15
    producer.close()


def test_a_broker_that_does_not_answer_is_an_error_within_the_timeout():
    """The broker accepts the connection and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        app = Stem(broker_url=f"amqp://guest:guest@127.0.0.1:{port}", backend_url="memory://")
        task, begun = add(app), time.monotonic()
        producer = app.blocking(timeout=0.5)
        with pytest.raises(BrokerUnavailableError):
            producer.enqueue(task, 1)
        assert time.monotonic() - begun < 15
        producer.close()


def is_waiting(thread):
    """Return whether a thread waits in a call of a blocking producer."""
    frame, codes = sys._current_frames()[thread], []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return waiting.wait.__code__ in codes and codes[0] is threading.Condition.wait.__code__


@contextlib.contextmanager
def interrupted_wait():
    """Send SIGINT to this thread once it waits in the block, like Ctrl-C in a terminal."""
    here = threading.get_ident()

    def interrupt():
        reaches(lambda: is_waiting(here))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)


def paused(app):
    """Pause the in-memory broker, and return it."""
    from stem_amqp.transport.memory.broker import MemoryBroker

    url = app.settings.broker_url[0].get_secret_value()
    return MemoryBroker.named(url.removeprefix("memory://"))


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
def test_ctrl_c_ends_the_wait_and_says_that_it_may_have_been_sent(stem, task):
    """The producer can be used afterwards."""
    with stem.blocking() as producer:
        broker = paused(stem)

        async def pause(_):
            broker.pause()

        async def resume(_):
            broker.resume()

        producer.ask(pause, instead="", unclear="")
        with interrupted_wait(), pytest.raises(KeyboardInterrupt) as caught:
            producer.enqueue(task.options(task_id="the-id"), 1)
        assert "sums.add the-id may or may not have been sent" in caught.value.__notes__[0]
        producer.ask(resume, instead="", unclear="")
        producer.enqueue(task, 2)
        assert ready(producer, stem) == 1


def test_ctrl_c_while_waiting_for_a_result_leaves_the_task_alone(stem, task):
    """The task continues."""
    with stem.blocking() as producer:
        handle = producer.enqueue(task, 1)
        with interrupted_wait(), pytest.raises(KeyboardInterrupt) as caught:
            handle.result()
        assert f"task {handle.id} continues" in caught.value.__notes__[0]
        assert handle.state() is TaskState.QUEUED


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
def test_no_confirm_in_time_is_a_typed_error(stem, task):
    """The error is typed whichever limit expires first, the producer's or the publish's."""
    # which must be enough to connect
    with stem.blocking(timeout="2s") as producer:
        broker = paused(stem)

        async def pause(_):
            broker.pause()

        producer.ask(pause, instead="", unclear="")
        begun = time.monotonic()
        with pytest.raises((PublishTimeoutError, BrokerUnavailableError)):
            producer.enqueue(task, 1)
        assert time.monotonic() - begun < 15
        with pytest.raises(EnqueueManyError):
            producer.enqueue_many([task.prepare(1), task.prepare(2)])


def test_closing_ends_what_other_threads_wait_for(stem, task):
    """The calls of the other threads end with an error that gives the reason."""
    producer = stem.blocking().open()
    handle = producer.enqueue(task, 1)
    with ThreadPoolExecutor(1) as pool:
        waiters = []

        def wait():
            waiters.append(threading.get_ident())
            return handle.result()

        result = pool.submit(wait)
        # a wait that begins after the close opens the producer again
        reaches(lambda: waiters and is_waiting(waiters[0]))
        producer.close()
        with pytest.raises((BrokerError, StemError)):
            result.result(timeout=PATIENCE)
