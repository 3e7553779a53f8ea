"""The choice of the copy that runs, in each possible order of events."""

import uuid

import pytest

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, REPEATED, REPLAYS, TaskMessage
from stem_amqp.outcome import Dead, Failure, Held, Postponed, Retried, Returned, Snoozed, Succeeded
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.states import Reason
from stem_amqp.worker.gates.claims import CLAIM_TTL, TTL_AFTER_END, Claims
from stem_amqp.worker.job import Job

FAILURE = Failure(error="no")
ENDS = [
    Succeeded(result=b"1", duration=0.1),
    Retried(failure=FAILURE, delay=1.0),
    Dead(reason=Reason.RETRIES_EXHAUSTED, failure=FAILURE),
    Snoozed(delay=1.0, reason=""),
    Postponed(delay=1.0),
]


class Clock(SystemClock):
    """A clock that the test moves."""

    def __init__(self):
        self.at = 1_700_000_000.0

    def time(self):
        """Return the time."""
        return self.at


@pytest.fixture
def clock():
    """Return the clock of the store."""
    return Clock()


@pytest.fixture
async def claims(clock):
    """Yield the claims of a worker."""
    backend = MemoryBackend(MemoryStore(), clock)
    await backend.open()
    yield Claims(backend, "t")
    await backend.close()


def job(publish="p1", attempt=1, replay=0, not_before=None, repeats=None, **values):
    """Return a copy of a retry, as one publish delivers it."""
    headers = {ATTEMPT: attempt, REPLAYS: replay}
    headers |= {} if not_before is None else {NOT_BEFORE: not_before}
    headers |= {} if repeats is None else {REPEATED: repeats}
    message = TaskMessage(id=values.pop("id", "t"), task="work", args={}, **values)
    return Job(body=b"", headers=headers, queue="q", message_id=publish, message=message)


async def test_of_two_copies_the_first_runs(claims):
    """Either copy may come first, and the other one may come several times."""
    assert await claims.takes(job("p1"))
    assert not await claims.takes(job("p2"))
    assert not await claims.takes(job("p2"))


async def test_a_redelivery_of_the_copy_that_ran_runs_again(claims):
    """Its worker was killed or has requeued it: there is no other copy for the task."""
    first = job("p1")
    assert await claims.takes(first)
    first.outcome = Returned()
    await claims.release(first, settled=True)
    assert not await claims.takes(job("p2"))
    assert await claims.takes(job("p1"))


async def test_a_copy_that_the_publisher_sent_again_itself_has_a_token_of_its_own(claims):
    """It has the same message id, and a header with the number of the publish."""
    assert await claims.takes(job("p1"))
    assert not await claims.takes(job("p1", repeats=1))
    assert not await claims.takes(job("p1", repeats=2))


@pytest.mark.parametrize(
    "other",
    [
        {"attempt": 2},
        {"replay": 1},
        {"not_before": "2026-01-01T00:00:00.000Z"},
        {"id": "another"},
        {"enqueued_at": "2026-01-01T00:00:00.000Z"},
    ],
    ids=str,
)
async def test_what_is_no_copy_is_not_held_up(claims, other):
    """The next attempt, a snooze, a replay, another task and a reused id all run."""
    assert await claims.takes(job("p1"))
    assert await claims.takes(job("p2", **other))


@pytest.mark.parametrize("outcome", ENDS, ids=lambda one: type(one).__name__)
async def test_a_claim_ends_some_time_after_its_attempt(claims, clock, outcome):
    """The worker of a copy may have looked up the record before the end, and claims after it."""
    first = job("p1")
    assert await claims.takes(first)
    first.outcome = outcome
    await claims.release(first, settled=True)
    clock.at += TTL_AFTER_END - 1
    assert not await claims.takes(job("p2"))
    clock.at += 2
    assert await claims.takes(job("p2"))


@pytest.mark.parametrize("outcome", ENDS, ids=lambda one: type(one).__name__)
async def test_a_claim_stays_if_the_outcome_is_not_settled(claims, clock, outcome):
    """The message is delivered again."""
    first = job("p1")
    assert await claims.takes(first)
    first.outcome = outcome
    await claims.release(first, settled=False)
    clock.at += TTL_AFTER_END + 1
    assert not await claims.takes(job("p2"))
    assert await claims.takes(job("p1"))


async def test_a_claim_ends_when_its_message_is_held(claims):
    """The message is published again for the same attempt, when its task is resumed."""
    first = job("p1")
    assert await claims.takes(first)
    first.outcome = Held()
    await claims.release(first, settled=True)
    assert await claims.takes(job("p2"))


async def test_a_claim_of_a_worker_that_never_came_back_ends(claims, clock):
    """Its message may be lost with its queue: no claim holds a task for ever."""
    assert await claims.takes(job("p1"))
    clock.at += CLAIM_TTL + 1
    assert await claims.takes(job("p2"))


async def test_a_native_retry_keeps_its_claim(claims):
    """The same message is delivered again, with the next attempt."""
    first = job("p1")
    assert await claims.takes(first)
    first.outcome = Retried(failure=FAILURE, delay=1.0, native=True)
    await claims.release(first, settled=True)
    assert await claims.takes(job("p1", attempt=2))
    assert not await claims.takes(job("p2"))


async def test_without_a_message_id_nothing_is_claimed(claims):
    """A message of another program has none: its copies cannot be told apart."""
    assert await claims.takes(job(None))
    assert await claims.takes(job(None))


async def test_a_backend_without_keys_lets_all_run(clock):
    """The behaviour is that of releases without claims."""

    class Keyless(MemoryBackend):
        keeps_keys = False

    backend = Keyless(MemoryStore(), clock)
    await backend.open()
    claims = Claims(backend, "t")
    assert await claims.takes(job("p1"))
    assert await claims.takes(job("p2"))
    await backend.close()


class Failing:
    """A backend that fails for some calls."""

    keeps_keys = True

    def __init__(self, *errors):
        self.errors = list(errors)

    async def claim_key(self, key, owner, *, ttl):
        """Raise an error, or return that another one has the key."""
        if self.errors:
            raise self.errors.pop(0)
        return type("Held", (), {"owner": f"other-{uuid.uuid4().hex}"})


async def test_while_the_backend_is_unavailable_nothing_is_decided():
    """The worker asks it until it answers."""
    backend = Failing(BackendUnavailableError("down"), BackendUnavailableError("down"))
    assert not await Claims(backend, "t").takes(job())
    assert backend.errors == []


async def test_a_backend_that_refuses_the_key_lets_the_task_run():
    """In doubt a task runs twice rather than never."""
    assert await Claims(Failing(ConfigurationError("no keys")), "t").takes(job())
