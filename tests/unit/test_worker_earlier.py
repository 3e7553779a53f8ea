"""Decision by the stored record on a redelivered message: run it, or only acknowledge it."""

import pytest

from stem_amqp.clock import timestamp
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, REPEATED, REPLAYS, SINCE, TaskMessage
from stem_amqp.results.base import TaskRecord
from stem_amqp.states import TaskState as S
from stem_amqp.worker.gates.earlier import processed_state
from stem_amqp.worker.job import Job

NEXT_RUN = 1_700_000_000.1234


class Backend:
    """A backend with one record, which is unavailable for its first calls."""

    def __init__(self, record, away=0):
        self.record, self.away = record, away

    async def get(self, task_id):
        """Return the record, or raise while the backend is unavailable."""
        if self.away:
            self.away -= 1
            raise BackendUnavailableError("down")
        return self.record


def record(state, attempt=0, replay=0):
    """Return a record in a state."""
    return TaskRecord(
        task_id="t",
        task="work",
        queue="q",
        state=state,
        attempt=attempt,
        replay=replay,
        created_at=1.0,
        updated_at=2.0,
        next_run=NEXT_RUN if state in {S.SNOOZED, S.RETRYING} else None,
    )


def job(attempt=0, replay=0, not_before=None):
    """Return a redelivered job."""
    headers = {ATTEMPT: attempt, REPLAYS: replay}
    if not_before is not None:
        headers[NOT_BEFORE] = timestamp(not_before)
    message = TaskMessage(id="t", task="work", args={})
    return Job(body=b"", headers=headers, queue="q", redelivered=True, message=message)


@pytest.mark.parametrize(
    ("stored", "delivered", "past"),
    [
        (record(S.QUEUED), job(), False),
        (record(S.RUNNING), job(), False),
        (record(S.SUCCEEDED), job(), True),
        (record(S.SUCCEEDED, attempt=2), job(attempt=1), True),
        (record(S.FAILED), job(), True),
        (record(S.EXPIRED), job(), True),
        (record(S.REVOKED), job(), True),
        # a confirmed retry, and its own first delivery or a repeated one
        (record(S.RETRYING), job(), True),
        (record(S.RETRYING), job(attempt=1), False),
        (record(S.RUNNING, attempt=1), job(), True),
        (record(S.RUNNING, attempt=1), job(attempt=1), False),
        # replayed from the dead-letter queue: an independent life
        (record(S.FAILED), job(replay=1), False),
        (record(S.QUEUED, replay=1), job(), True),
        (record(S.FAILED, replay=1), job(replay=1), True),
        # a snooze does not change the attempt; the message that it published has its time
        (record(S.SNOOZED), job(), True),
        (record(S.SNOOZED), job(not_before=NEXT_RUN), False),
        (record(S.SNOOZED), job(not_before=NEXT_RUN - 30), True),
        (record(S.SNOOZED), job(not_before=NEXT_RUN + 5), False),
    ],
)
async def test_a_repeated_delivery_runs_only_if_it_has_not_run(stored, delivered, past):
    """In doubt it runs: running twice is allowed, and never running is not."""
    assert (await processed_state(Backend(stored), delivered)) == (stored.state if past else None)


@pytest.mark.parametrize(
    ("headers", "redelivered", "past"),
    [
        ({REPEATED: True}, False, True),
        ({REPEATED: 1}, False, True),
        ({}, False, False),  # the first copy: the run may be its own
        ({REPEATED: 1}, True, False),  # the run may be of its own first delivery
        ({REPEATED: 1, SINCE: ""}, False, False),  # a snooze: the run may be the previous one
        ({REPEATED: 1, ATTEMPT: 1}, False, False),
        ({REPEATED: 1, REPLAYS: 1}, False, False),
    ],
    ids=str,
)
async def test_the_second_copy_of_a_first_message_is_past_while_the_first_one_runs(
    headers, redelivered, past
):
    """The producer marks the second copy, and the broker keeps the first until it is settled."""
    message = TaskMessage(id="t", task="work", args={})
    copy = Job(body=b"", headers=headers, queue="q", redelivered=redelivered, message=message)
    stored = record(S.RUNNING, attempt=copy.attempt, replay=copy.replay)
    assert (await processed_state(Backend(stored), copy)) == (S.RUNNING if past else None)


async def test_a_task_that_nothing_is_known_of_is_run():
    """Its record has expired, or the worker died before it stored one."""
    assert await processed_state(Backend(None), job()) is None


async def test_while_the_backend_is_unavailable_nothing_is_decided():
    """The worker asks it until it answers."""
    backend = Backend(record(S.SUCCEEDED), away=2)
    assert await processed_state(backend, job()) is S.SUCCEEDED
    assert backend.away == 0
