"""Batched writes to the result backend."""

import asyncio
import logging
import time

import pytest
import tenacity

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results import writer as batch
from stem_amqp.results.base import Progress, ProgressUpdate, Transition
from stem_amqp.results.writer import ResultWriter
from stem_amqp.states import TaskState


class Recorder:
    """A backend that records its calls, and can be blocked or made to fail."""

    def __init__(self):
        self.calls = []
        self.failures = []
        self.refused = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def transition(self, changes):
        self.calls.append([(change.task_id, change.state.value) for change in changes])
        await self._pass()
        if any(change.task_id == "poison" for change in changes):
            raise TypeError("poison cannot be stored")
        return [change.task_id not in self.refused for change in changes]

    async def report_progress(self, updates):
        self.calls.append([(update.task_id, update.progress.fraction) for update in updates])
        await self._pass()

    async def _pass(self):
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)


@pytest.fixture
def backend():
    """Return a backend that records its calls."""
    return Recorder()


@pytest.fixture
async def writer(backend):
    """Yield a writer that does not wait between its attempts."""
    writer = ResultWriter(backend, wait=tenacity.wait_none())
    yield writer
    backend.failures.clear()
    backend.gate.set()
    await writer.close()


def change(task_id="t1", state=TaskState.SUCCEEDED):
    """Return a change of a task."""
    return Transition(task_id=task_id, task="x", queue="q", state=state, at=time.time())


def progress(task_id="t1", fraction=0.5):
    """Return progress of a task."""
    return ProgressUpdate(task_id=task_id, progress=Progress(fraction=fraction))


async def test_what_is_written_in_one_turn_is_one_call(writer, backend):
    """A hundred tasks that end at once cost one call of the backend."""
    stored = await asyncio.gather(*(writer.write(change(f"t{n}")) for n in range(100)))
    assert stored == [True] * 100
    assert len(backend.calls) == 1
    assert len(backend.calls[0]) == 100


async def test_what_is_written_while_a_batch_is_stored_is_the_next_call(writer, backend):
    """A slow store gets fewer and larger batches, one at a time."""
    backend.gate.clear()
    first = asyncio.create_task(writer.write(change("first")))
    await until(lambda: backend.calls)
    others = [asyncio.create_task(writer.write(change(f"t{n}"))) for n in range(20)]
    await asyncio.sleep(0.02)
    assert len(backend.calls) == 1
    backend.gate.set()
    await asyncio.gather(first, *others)
    assert [len(call) for call in backend.calls] == [1, 20]


async def test_a_batch_has_a_limit(writer, backend, monkeypatch):
    """More changes than the limit become several calls, in order."""
    monkeypatch.setattr(batch, "BATCH_LIMIT", 10)
    await asyncio.gather(*(writer.write(change(f"t{n}")) for n in range(25)))
    assert [len(call) for call in backend.calls] == [10, 10, 5]
    assert [task for call in backend.calls for task, _ in call] == [f"t{n}" for n in range(25)]


async def test_each_writer_learns_whether_its_own_change_was_accepted(writer, backend):
    """A refused change is False for its writer and True for the others."""
    backend.refused = {"t1"}
    stored = await asyncio.gather(*(writer.write(change(f"t{n}")) for n in range(3)))
    assert stored == [True, False, True]


async def test_posted_changes_go_along_in_the_order_of_their_task(writer, backend):
    """Running is stored before succeeded, and no caller waits for it."""
    writer.post(change("a", TaskState.RUNNING))
    writer.post(change("b", TaskState.RUNNING))
    assert await writer.write(change("a"))
    assert backend.calls == [[("a", "running"), ("b", "running"), ("a", "succeeded")]]


async def test_progress_is_stored_between_the_states_around_it(writer, backend):
    """Progress is stored after running and before the end; other tasks' batches are not split."""
    for task in ("a", "b"):
        writer.post(change(task, TaskState.RUNNING))
        writer.post(progress(task, 0.5))
        writer.post(change(task, TaskState.SUCCEEDED))
    await writer.flush()
    assert backend.calls == [
        [("a", "running"), ("b", "running")],
        [("a", 0.5), ("b", 0.5)],
        [("a", "succeeded"), ("b", "succeeded")],
    ]


async def test_of_several_updates_of_progress_the_last_is_stored(writer, backend):
    """Hundreds of reports of a task in one iteration of the event loop cost one update."""
    for number in range(900):
        writer.post(progress("a", number / 900))
    writer.post(progress("b", 0.1))
    await writer.flush()
    assert backend.calls == [[("a", 899 / 900), ("b", 0.1)]]


async def test_an_outage_is_tried_again_before_anybody_hears_of_it(writer, backend):
    """Two failures appear in the log only."""
    backend.failures = [BackendUnavailableError("away")] * 2
    assert await writer.write(change())
    assert len(backend.calls) == 3


async def test_a_lasting_outage_is_reported_to_every_writer(writer, backend):
    """After three attempts each writer gets its own error, and the next batch starts anew."""
    backend.failures = [BackendUnavailableError("away") for _ in range(3)]
    outcomes = await asyncio.gather(
        *(writer.write(change(f"t{n}")) for n in range(5)), return_exceptions=True
    )
    assert [str(outcome) for outcome in outcomes] == ["away"] * 5
    assert {type(outcome) for outcome in outcomes} == {BackendUnavailableError}
    assert len({id(outcome) for outcome in outcomes}) == 5
    assert len(backend.calls) == 3
    assert await writer.write(change("later"))


async def test_failures_of_posted_changes_are_logged_once_and_not_raised(writer, backend, caplog):
    """A long outage is one line, with one more line after its end."""
    caplog.set_level(logging.WARNING, "stem_amqp.results")
    for _ in range(3):
        backend.failures = [BackendUnavailableError("away") for _ in range(3)]
        writer.post(change("a", TaskState.RUNNING))
        await writer.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "the result backend fails, 1 changes are not stored: away"
    ]
    assert await writer.write(change())
    backend.failures = [BackendUnavailableError("again")]
    writer.post(progress())
    await writer.flush()
    assert len(caplog.records) == 2


async def test_a_change_that_cannot_be_stored_does_not_take_the_others_along(
    writer, backend, caplog
):
    """Only the bad change of a batch fails."""
    caplog.set_level(logging.CRITICAL, "stem_amqp.results")
    outcomes = await asyncio.gather(
        writer.write(change("a")),
        writer.write(change("poison")),
        writer.write(change("b")),
        return_exceptions=True,
    )
    assert outcomes[0] is outcomes[2] is True
    assert isinstance(outcomes[1], TypeError)


async def test_failing_progress_does_not_fail_the_states_of_its_batch(writer, backend, caplog):
    """Progress is tried once; changes that were stored with it stay stored."""
    caplog.set_level(logging.CRITICAL, "stem_amqp.results")
    backend.gate.clear()
    writer.post(progress("b"))
    stored = asyncio.create_task(writer.write(change("a")))
    await until(lambda: backend.calls)
    real = backend.transition

    async def then_fail(changes):
        outcome = await real(changes)
        backend.failures = [BackendUnavailableError("away")]
        return outcome

    backend.transition = then_fail
    backend.gate.set()
    assert await stored is True
    await writer.flush()


async def test_a_cancelled_writer_leaves_the_batch_alone(writer, backend):
    """The other callers get their answers, and its own change is stored."""
    backend.gate.clear()
    gone = asyncio.create_task(writer.write(change("gone")))
    stays = asyncio.create_task(writer.write(change("stays")))
    await until(lambda: backend.calls)
    gone.cancel()
    await asyncio.wait({gone})
    backend.gate.set()
    assert await stays is True
    assert backend.calls == [[("gone", "succeeded"), ("stays", "succeeded")]]


async def test_flush_waits_for_everything_and_survives_a_cancelled_caller(writer, backend):
    """After a flush everything is stored; a cancelled caller does not stop the storing."""
    await writer.flush()
    backend.gate.clear()
    stored = asyncio.create_task(writer.write(change("a")))
    await asyncio.sleep(0)
    impatient = asyncio.create_task(writer.flush())
    await until(lambda: backend.calls)
    impatient.cancel()
    await asyncio.wait({impatient})
    writer.post(change("b"))
    flushing = asyncio.create_task(writer.flush())
    await asyncio.sleep(0)
    assert not flushing.done()
    backend.gate.set()
    await flushing
    assert backend.calls == [[("a", "succeeded")], [("b", "succeeded")]]
    assert await stored is True


async def test_closing_stores_what_was_written_and_takes_nothing_more(writer, backend):
    """No accepted change is lost at the end, and no further change is accepted."""
    writer.post(change("a"))
    await writer.close()
    await writer.close()
    assert backend.calls == [[("a", "succeeded")]]
    with pytest.raises(BackendUnavailableError, match="t1: the result writer is closed"):
        await writer.write(change())
    writer.post(change("late"))
    await writer.flush()
    assert len(backend.calls) == 1


async def until(holds):
    """Wait until a condition holds."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)
