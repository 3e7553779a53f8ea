"""Test how a continuation claims its group and takes the results."""

import pytest

from stem_amqp.clock import Clock
from stem_amqp.errors import ArgumentsError
from stem_amqp.messages.links import Links, Source
from stem_amqp.messages.message import TaskMessage
from stem_amqp.outcome import Repeated
from stem_amqp.results.base import MemberReport
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.states import Reason, TaskState
from stem_amqp.worker.continuing.taking import attach_stream, take_results
from stem_amqp.worker.job import Job


class Hand(Clock):
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


@pytest.fixture
async def clock():
    return Hand()


@pytest.fixture
async def backend(clock):
    """Yield a backend with a group of one member."""
    backend = MemoryBackend(MemoryStore(), clock)
    await backend.open()
    await backend.create_group("c.0", 1, ttl=60)
    yield backend
    await backend.close()


async def complete(backend):
    """Report the end of the member."""
    await backend.report_members(
        [
            MemberReport(
                group_id="c.0", index=0, task_id="c.0.0", state=TaskState.SUCCEEDED, value=b"7"
            )
        ]
    )


def job(token, results="list"):
    """Return the job of a copy of the continuation."""
    source = Source(group="c.0", results=results, parameter="values")
    links = Links(composition="c", source=source, token=token)
    message = TaskMessage(id="c.1", task="total", args={}, links=links)
    return Job(body=b"", headers={}, queue="q", message=message)


async def test_one_of_two_copies_takes_the_results_and_takes_them_again(backend):
    await complete(backend)
    first, second, redelivered = job("a"), job("b"), job("a")

    assert await take_results(backend, first) is None
    assert first.given == {"values": [7]}
    assert await take_results(backend, second) == Repeated()
    assert second.given is None
    assert await take_results(backend, redelivered) is None


async def test_a_group_whose_ttl_has_passed_makes_a_dead_letter(backend, clock):
    await complete(backend)
    clock.now += 61

    outcome = await take_results(backend, job("a"))

    assert outcome.reason is Reason.LINK_FAILED
    assert "Give the group a longer ttl" in outcome.failure.error


async def test_a_group_that_has_lost_reports_makes_a_dead_letter(backend):
    outcome = await take_results(backend, job("a"))

    assert outcome.reason is Reason.LINK_FAILED
    assert "0 of 1 members have ended" in outcome.failure.error


async def test_a_stream_needs_its_annotation(backend):
    await complete(backend)
    streaming = job("a", results="stream")
    assert await take_results(backend, streaming) is None
    streaming.arguments = dict(streaming.given)

    with pytest.raises(ArgumentsError, match="annotate it as GroupResults"):
        attach_stream(backend, streaming)
