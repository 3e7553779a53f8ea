"""The handle of a task, which the producer holds."""

import asyncio
import time

import pytest
from pydantic import BaseModel, TypeAdapter

from stem_amqp.clock import SystemClock
from stem_amqp.errors import (
    ConfigurationError,
    DecodeError,
    ResultTimeoutError,
    ResultUnavailableError,
    TaskFailedError,
)
from stem_amqp.results.base import Progress, ProgressUpdate, Transition
from stem_amqp.results.handle import TaskHandle
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.states import TaskState


class Total(BaseModel):
    amount: int


@pytest.fixture
async def backend():
    """Yield an open backend."""
    backend = MemoryBackend(MemoryStore(), SystemClock())
    await backend.open()
    yield backend
    await backend.close()


def change(state, **values):
    """Return a change of the task t1."""
    return Transition(
        task_id="t1", task="shop.sync", queue="orders", state=state, at=time.time(), **values
    )


async def test_a_whole_number_of_any_size_is_read_as_it_is(backend):
    """This holds without the task's code too."""
    await backend.transition([change(TaskState.SUCCEEDED, result=b'{"n":%d}' % 2**70)])
    assert await TaskHandle("t1", backend=backend).result(timeout=1) == {"n": 2**70}


async def test_a_result_is_what_the_task_returned(backend):
    """Without a decoder it is the JSON value; a task that returned nothing has None."""
    handle = TaskHandle("t1", backend=backend, task="shop.sync", queue="orders")
    assert (handle.id, handle.task, handle.queue) == ("t1", "shop.sync", "orders")
    await backend.transition([change(TaskState.SUCCEEDED, result=b'{"amount":3}')])
    assert await handle.result() == {"amount": 3}
    await backend.transition([change(TaskState.SUCCEEDED, result=b"null")])
    other = Transition(task_id="t2", task="x", queue="q", state=TaskState.SUCCEEDED, at=1.0)
    await backend.transition([other])
    assert await TaskHandle("t2", backend=backend).result() is None


async def test_a_result_is_converted_to_the_return_type(backend):
    """A handle that has the task converts the value to the declared type."""
    decode = TypeAdapter(Total).validate_json
    handle = TaskHandle("t1", backend=backend, decode=decode)
    await backend.transition([change(TaskState.SUCCEEDED, result=b'{"amount":3}')])
    assert await handle.result(timeout="5s") == Total(amount=3)


async def test_a_result_that_does_not_fit_names_the_task_and_keeps_the_bytes(backend):
    """A producer with another version of the task gets a `StemError`."""
    decode = TypeAdapter(Total).validate_json
    handle = TaskHandle("t1", backend=backend, task="shop.sync", decode=decode)
    await backend.transition([change(TaskState.SUCCEEDED, result=b'{"sum":3}')])
    with pytest.raises(
        DecodeError, match=r"shop\.sync t1 succeeded.*amount: Field required"
    ) as caught:
        await handle.result()
    assert caught.value.body == b'{"sum":3}'


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.EXPIRED, TaskState.REVOKED])
async def test_a_task_that_ended_without_a_result_raises_why(backend, state):
    """The exception has state, reason, error and the worker's traceback."""
    details = {"reason": "not-retryable", "error": "ValueError: no", "traceback": "line 1"}
    await backend.transition([change(state, **details)])
    with pytest.raises(TaskFailedError, match="not-retryable: ValueError: no") as caught:
        await TaskHandle("t1", backend=backend).result()
    error = caught.value
    assert (error.task_id, error.state) == ("t1", state.value)
    assert (error.reason, error.error, error.traceback) == tuple(details.values())


async def test_a_timeout_says_what_is_known_and_where_to_look(backend):
    """The message names task, time, last state and the queue whose worker may be missing."""
    handle = TaskHandle("t1", backend=backend, task="shop.sync", queue="orders")
    with pytest.raises(ResultTimeoutError, match=r"shop\.sync t1.*50 ms: nothing is known"):
        await handle.result(timeout="50ms")
    await backend.transition([change(TaskState.QUEUED)])
    with pytest.raises(TimeoutError, match=r"(?s)last known state is queued.*queue 'orders'"):
        await handle.result(timeout=0)
    # a handle made from an id alone reads the queue from the record
    with pytest.raises(ResultTimeoutError, match="queue 'orders'"):
        await TaskHandle("t1", backend=backend).result(timeout=0)


async def test_over_rpc_a_timeout_names_the_processes_that_could_know_more(backend):
    """Only the process that enqueued a task gets its replies."""
    backend.needs_reply = True
    with pytest.raises(ResultTimeoutError, match="only the process that enqueued it"):
        await TaskHandle("t9", backend=backend).result(timeout=0)


async def test_waiting_without_a_timeout_ends_with_the_task(backend):
    """Without a timeout, the wait lasts until the task ends."""
    handle = TaskHandle("t1", backend=backend)
    waiting = asyncio.create_task(handle.result())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await backend.transition([change(TaskState.SUCCEEDED, result=b"7")])
    assert await waiting == 7


async def test_an_ignored_result_cannot_be_asked_for(backend):
    """Nothing is stored; the error says how to change that."""
    handle = TaskHandle("t1", backend=backend, task="shop.sync", ignore_result=True)
    for question in (handle.result, handle.status, handle.progress):
        with pytest.raises(ResultUnavailableError, match=r"(?s)shop\.sync t1.*ignore_result"):
            await question()


async def test_status_and_progress_show_the_record(backend):
    """A handle gives the state of the task without waiting for its end."""
    handle = TaskHandle("t1", backend=backend)
    assert await handle.status() is None
    assert await handle.progress() is None
    await backend.transition([change(TaskState.RUNNING)])
    assert (await handle.status()).state is TaskState.RUNNING
    assert await handle.progress() is None
    progress = Progress(fraction=0.25, at=1.0)
    await backend.report_progress([ProgressUpdate(task_id="t1", progress=progress)])
    assert await handle.progress() == progress


async def test_a_timeout_that_is_none_is_refused_before_waiting(backend):
    """A wrong duration is the caller's mistake."""
    with pytest.raises(ConfigurationError, match="soon"):
        await TaskHandle("t1", backend=backend).result(timeout="soon")


def test_a_handle_shows_its_id_and_its_task(backend):
    """Logs and shells show which task a handle belongs to."""
    assert repr(TaskHandle("t1", backend=backend, task="a.b")) == "<TaskHandle t1 of task a.b>"
    assert repr(TaskHandle("t1", backend=backend)) == "<TaskHandle t1 of a task>"
