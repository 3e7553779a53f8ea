"""Reports of members that end at the same time share one call of the backend."""

import asyncio

import pytest
import tenacity

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ResultUnavailableError
from stem_amqp.results.base import MemberReport
from stem_amqp.results.groups.reporter import ATTEMPTS, GroupReporter
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.states import TaskState


class Calls(MemoryBackend):
    """A backend that records its calls, and fails those that it is told to."""

    def __init__(self):
        super().__init__(MemoryStore(), SystemClock())
        self.sizes = []
        self.called = asyncio.Event()
        self.errors = []
        self.gate = None

    async def report_members(self, reports):
        self.sizes.append(len(reports))
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        for report in reports:
            if report.value == b"bad":
                raise ValueError("cannot be stored")
        return await super().report_members(reports)


@pytest.fixture
async def backend():
    """Yield an open backend with a group of 2,500 members."""
    calls = Calls()
    await calls.open()
    await calls.create_group("g", 2500, ttl=1000)
    yield calls
    await calls.close()


@pytest.fixture
def reporter(backend):
    """Return a reporter that repeats without a wait."""
    return GroupReporter(backend, wait=tenacity.wait_none())


def end(index, value=b"1", group_id="g"):
    """Return the report of a member."""
    return MemberReport(
        group_id=group_id, index=index, task_id=f"t{index}", state=TaskState.SUCCEEDED, value=value
    )


async def test_members_that_end_together_share_a_call(backend, reporter):
    """A call has at most 1,000 reports, and exactly one report sees the group complete."""
    groups = await asyncio.gather(*(reporter.report(end(index)) for index in range(2500)))
    assert backend.sizes == [1000, 1000, 500]
    assert [group.done for group in groups] == list(range(1, 2501))
    assert [group.complete for group in groups].count(True) == 1


async def test_reports_during_a_call_form_the_next_one(backend, reporter):
    """A slow store makes larger batches."""
    backend.gate = asyncio.Event()
    first = asyncio.create_task(reporter.report(end(0)))
    await backend.called.wait()
    others = [asyncio.create_task(reporter.report(end(index))) for index in range(1, 50)]
    await asyncio.sleep(0)
    backend.gate.set()
    await asyncio.gather(first, *others)
    assert backend.sizes == [1, 49]


async def test_an_outage_is_repeated_and_then_everybodys_error(backend, reporter):
    """Each reporter gets an exception of its own, and can report again."""
    backend.errors = [BackendUnavailableError("away")]
    assert (await reporter.report(end(0))).done == 1
    backend.errors = [BackendUnavailableError("away")] * ATTEMPTS
    outcomes = await asyncio.gather(
        *(reporter.report(end(index)) for index in range(3)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {BackendUnavailableError}
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert (await reporter.report(end(0))).done == 1


async def test_an_unknown_member_is_an_error_of_its_reporter_alone(reporter):
    """A group that has expired does not disturb the others."""
    calls = [
        reporter.report(end(0)),
        reporter.report(end(1, group_id="gone")),
        reporter.report(end(9999)),
    ]
    first, gone, outside = await asyncio.gather(*calls, return_exceptions=True)
    assert first.done == 1
    assert isinstance(gone, ResultUnavailableError)
    assert "member 1 of group gone" in str(gone)
    assert isinstance(outside, ResultUnavailableError)


async def test_a_report_that_cannot_be_stored_fails_alone(reporter):
    """The others of its batch are stored one by one."""
    outcomes = await asyncio.gather(
        *(reporter.report(end(index, b"bad" if index == 1 else b"1")) for index in range(4)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(ValueError) == 1
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[3].done == 3


async def test_a_cancelled_reporter_does_not_stop_the_others(backend, reporter):
    """Its report is stored all the same."""
    backend.gate = asyncio.Event()
    tasks = [asyncio.create_task(reporter.report(end(index))) for index in range(2)]
    await backend.called.wait()
    tasks[0].cancel()
    await asyncio.sleep(0)
    backend.gate.set()
    assert (await tasks[1]).done == 2
    assert tasks[0].cancelled()


async def test_a_batch_without_reporters_ends_by_itself(backend, reporter):
    """Nothing runs on after the last attempt, so that nothing has to be closed."""
    backend.gate = asyncio.Event()
    reporting = asyncio.create_task(reporter.report(end(0)))
    await backend.called.wait()
    reporting.cancel()
    backend.errors = [BackendUnavailableError("away")] * ATTEMPTS
    backend.gate.set()
    left = {one for one in asyncio.all_tasks() if one.get_name() == "stem-amqp group reports"}
    await asyncio.wait({*left, reporting}, timeout=60)
    assert reporting.cancelled()
    assert len(left) == 1
    assert all(one.done() and one.exception() is None for one in left)
    assert len(backend.sizes) == ATTEMPTS
