"""Tests of the quarantine: which deliveries are suspect, and the outcomes of their runs."""

import asyncio
import sys
from types import ModuleType

import pytest
from support import eventually
from worker_fakes import FakeDelivery, job

from stem_amqp import Stem
from stem_amqp.errors import ProcessDiedError, TimeLimitError
from stem_amqp.locate import find
from stem_amqp.outcome import Dead, Failure, Postponed, Succeeded
from stem_amqp.settings import Settings
from stem_amqp.states import Reason
from stem_amqp.worker.isolation import quarantine as module
from stem_amqp.worker.isolation.child import LATER, ChildUnavailableError
from stem_amqp.worker.isolation.origin import Origin, origin_of
from stem_amqp.worker.isolation.quarantine import OVERTIME, Quarantine

DONE = Succeeded(result=b"1", duration=0.1)
application = object()
"""The application, which the quarantine finds as an attribute of this module."""


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Register this module under a name that can be imported."""
    monkeypatch.setitem(sys.modules, "an_application", sys.modules[__name__])


def quarantine(after=3):
    """Return a quarantine of an application that can be imported."""
    return Quarantine(application, Settings(broker_url="memory://", quarantine_after=after))


def delivery(*, redelivered=True, **headers):
    """Return a delivery with RabbitMQ's counts."""
    names = {"count": "x-delivery-count", "acquired": "x-acquired-count"}
    return FakeDelivery(
        headers={names[name]: value for name, value in headers.items()}, redelivered=redelivered
    )


@pytest.mark.parametrize(
    ("given", "suspected"),
    [
        (delivery(count=2), False),
        (delivery(count=3), True),
        (delivery(count=9), True),
        (delivery(count=9, redelivered=False), False),
        (delivery(), True),
        (delivery(redelivered=False), False),
        (delivery(acquired=9), False),
        (delivery(acquired=9, count=2), False),
        (delivery(acquired=9, count=3), True),
        (FakeDelivery(headers={"x-delivery-count": "many"}, redelivered=True), True),
    ],
)
def test_a_message_is_suspected_from_so_many_failed_deliveries_on(given, suspected):
    """A message is suspect from the threshold on; without counts, from the first redelivery on."""
    assert quarantine(3).suspects(given) is suspected


def test_nothing_is_suspected_where_that_is_switched_off():
    """A threshold of 0 turns the quarantine off."""
    assert not quarantine(0).suspects(delivery(count=99))


def test_nothing_is_suspected_that_cannot_run_in_another_process(caplog):
    """An application that cannot be imported has no suspects, and one warning is logged."""
    here = Quarantine(object(), Settings(broker_url="memory://", quarantine_after=1))
    assert not here.suspects(delivery(count=9))
    assert not here.suspects(delivery(count=9))
    assert caplog.text.count("cannot run in a process of its own") == 1


@pytest.mark.parametrize(
    ("attempts", "native", "explained"),
    [(5, True, True), (7, True, True), (8, True, False), (0, False, False)],
)
def test_retries_of_a_native_queue_explain_deliveries(attempts, native, explained):
    """On a native queue, fewer failures than `max_retries` plus the threshold may be retries."""
    one = job(native=native, redelivered=True, headers={"x-delivery-count": attempts})
    assert quarantine(3).explained(one, max_retries=5) is explained


class FakeChild:
    """A child process whose result the test sets."""

    def __init__(self, end):
        self.end_with = end
        self.runs = []
        self.calls = []
        self.go = asyncio.Event()
        self.go.set()

    async def run(self, job, on_progress, *, limit, overtime):
        """Return the outcome, or raise the exception, that the test has set."""
        self.runs.append((job, limit, overtime))
        await self.go.wait()
        if isinstance(self.end_with, Exception):
            raise self.end_with
        return self.end_with

    async def end(self):
        """Record the call."""
        self.calls.append("end")

    async def kill(self):
        """Record the call."""
        self.calls.append("kill")


@pytest.fixture
def children(monkeypatch):
    """Children that are started in order; an exception in their place is raised instead."""
    waiting = []

    async def start(origin, settings):
        assert origin.path.endswith(":application")
        child = waiting.pop(0)
        if isinstance(child, Exception):
            raise child
        return child

    monkeypatch.setattr(module.ChildProcess, "start", start)
    return waiting


async def run(one, limit=None):
    """Run a job in a new quarantine, and return its outcome."""
    here = quarantine()
    assert here.suspects(delivery(count=9))
    return await here.run(one, limit, lambda progress: None)


async def test_a_suspect_that_is_innocent_has_run(children):
    """A suspect that does not crash has its normal outcome, and then its child is closed."""
    child = FakeChild(DONE)
    children.append(child)
    one = job()
    assert await run(one, 7.0) == DONE
    assert child.runs == [(one, 7.0, OVERTIME)]
    assert child.calls == ["end", "kill"]


@pytest.mark.parametrize("error", [ProcessDiedError("SIGKILL"), TimeLimitError("slow")])
async def test_a_suspect_whose_process_dies_is_a_dead_letter(children, error):
    """The dead letter has the reason `CRASHED` and the error, and the task is not retried."""
    child = FakeChild(error)
    children.append(child)
    assert await run(job()) == Dead(reason=Reason.CRASHED, failure=Failure(error=str(error)))
    assert child.calls == ["kill"]


async def test_a_suspect_whose_process_cannot_start_comes_later(children):
    """The job is postponed, since its task has not run."""
    children.append(ChildUnavailableError("no memory"))
    assert await run(job()) == Postponed(delay=LATER)


async def test_suspects_run_one_at_a_time(children):
    """A second suspect starts only after the first one has ended."""
    first, second = FakeChild(DONE), FakeChild(DONE)
    first.go.clear()
    children += [first, second]
    here = quarantine()
    assert here.suspects(delivery(count=9))
    runs = [asyncio.create_task(here.run(job(), None, print)) for _ in range(2)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert (len(first.runs), len(second.runs)) == (1, 0)
    first.go.set()
    assert await asyncio.gather(*runs) == [DONE, DONE]


async def test_a_cancelled_suspect_kills_its_process(children):
    """When a run in quarantine is cancelled, its child process is killed."""
    child = FakeChild(DONE)
    child.go.clear()
    children.append(child)
    task = asyncio.create_task(run(job()))
    await eventually(lambda: child.runs)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert child.calls == ["kill"]


def test_a_child_imports_the_target_of_the_worker_and_the_modules_of_its_tasks(monkeypatch):
    """The module of the application need not import its tasks, or may import them in a circle."""
    app = Stem(broker_url="memory://")
    function = lambda: None  # noqa: E731 - its module is another one
    function.__module__ = "shop.plain"
    app.task("plain")(function)
    for name in ("shop.app", "shop.tasks", "__mp_main__"):
        shop = ModuleType(name)
        shop.stem = app
        monkeypatch.setitem(sys.modules, name, shop)
    modules = ("shop.app", "shop.tasks", "shop.plain")
    assert origin_of(app) == Origin(path="shop.app:stem", modules=modules)
    assert find("shop.tasks:stem") is app
    assert origin_of(app) == Origin(path="shop.tasks:stem", modules=modules)
