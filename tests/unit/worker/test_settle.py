"""Tests of the settler: its publishes and stored states, their order, and its failures."""

import asyncio

import pytest
from support import eventually
from worker_fakes import (
    NOW,
    QUEUE,
    FakeDelivery,
    FakeKeys,
    FakeTransport,
    FakeWriter,
    body,
    connections,
    job,
    make_blueprint,
    read_job,
    seal,
)

from stem_amqp.clock import timestamp
from stem_amqp.errors import (
    BackendError,
    BackendUnavailableError,
    BrokerRefusedError,
    BrokerUnavailableError,
    ConfigurationError,
    PublishRefusedError,
    PublishTimeoutError,
    ReplyRefusedError,
    StaleDeliveryError,
    UnroutableError,
    UnwritableError,
)
from stem_amqp.messages.message import ATTEMPT, ERROR, HISTORY, NOT_BEFORE, REASON
from stem_amqp.observability import Telemetry
from stem_amqp.outcome import (
    Dead,
    Failure,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.signals import Signals
from stem_amqp.signing.publish import MARK, PUBLISH
from stem_amqp.states import Reason, TaskState
from stem_amqp.topology.names import REJECTED_KEY, Names
from stem_amqp.worker import settle
from stem_amqp.worker.follow_up import persist
from stem_amqp.worker.report.announce import Announcer
from stem_amqp.worker.settle import Settler, discard

FAILURE = Failure(error="ValueError: no", traceback="Traceback …")
DONE = Succeeded(result=b"1", duration=0.1)
AGAIN = Retried(failure=FAILURE, delay=2.0)
DEAD = Dead(reason=Reason.RETRIES_EXHAUSTED, failure=FAILURE)
NAMES = Names("stem")


class Settling:
    """A settler with fakes around it, which record the order of its steps."""

    def __init__(self, seal=None):
        self.events = []
        self.transport = FakeTransport(self.events)
        self.writer = FakeWriter(self.events)
        self.keys = FakeKeys(self.events)
        self.delivery = FakeDelivery(self.events, content=body())
        self.signals = Signals()
        for signal in self.signals:
            signal.connect()(self._note)
        self.settler = Settler(
            make_blueprint(result_ttl=60.0),
            connections(self.transport, backend=self.keys, writer=self.writer, seal=seal),
            announcer=Announcer(self.signals, Telemetry(), self.transport.clock, "w"),
            worker="w",
            longest_wait=0.001,
        )

    async def _note(self, event):
        self.events.append(event.signal)

    async def settle(self, outcome, one=None):
        """Settle an outcome, and return whether it is settled."""
        return await self.settler.settle(self.delivery, one or read_job(), outcome)


@pytest.fixture
def settling():
    """A settler."""
    return Settling()


@pytest.fixture
def impatient(monkeypatch):
    """Set the limits of a minute to 0, so that steps are given up at once."""
    monkeypatch.setattr(persist, "REFUSED_FOR", 0.0)
    monkeypatch.setattr(settle, "UNROUTABLE_FOR", 0.0)


# The order


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (DONE, ["store succeeded", "ack", "task-succeeded"]),
        (AGAIN, ["publish", "store retrying", "ack", "task-retried"]),
        (Snoozed(delay=5.0, reason="r"), ["publish", "store snoozed", "ack", "task-snoozed"]),
        (Postponed(delay=5.0), ["publish", "ack"]),
        (DEAD, ["publish", "store failed", "ack", "task-failed", "task-dead-lettered"]),
        (
            Dead(reason=Reason.EXPIRED, failure=FAILURE),
            ["publish", "store expired", "ack", "task-expired", "task-dead-lettered"],
        ),
        (Revoked(reason="r"), ["store revoked", "ack", "task-revoked"]),
        (Repeated(state=TaskState.SUCCEEDED), ["ack"]),
        (Repeated(), ["ack"]),
        (Returned(), ["nack, requeue"]),
        (
            Retried(failure=FAILURE, delay=2.0, native=True),
            ["store retrying", "reject, requeue", "task-retried"],
        ),
    ],
)
async def test_what_follows_is_published_then_the_state_is_stored_then_the_delivery_is_settled(
    settling, outcome, expected
):
    """Each outcome has these steps in this order; the signals come last."""
    assert await settling.settle(outcome)
    assert settling.events == expected


@pytest.mark.parametrize("outcome", [DONE, AGAIN, DEAD, Revoked(reason="r")])
async def test_nothing_is_stored_of_a_task_whose_result_is_ignored(settling, outcome):
    """No state is stored, and the delivery is acknowledged."""
    await settling.settle(outcome, read_job(options={"ignore_result": True}))
    assert settling.writer.changes == []
    assert "ack" in settling.events


async def test_nothing_is_stored_of_a_message_that_was_not_read(settling):
    """Without a message there is no task id, so only the dead letter is published."""
    await settling.settle(Dead(reason=Reason.UNDECODABLE, failure=FAILURE), job(b"x"))
    assert settling.events == ["publish", "ack", "task-failed", "task-dead-lettered"]


# What is stored


async def test_a_success_is_stored_with_its_result(settling):
    """The change has the result, the attempt, the worker, the time and the TTL."""
    await settling.settle(DONE, read_job(headers={ATTEMPT: 3}, reply_to="r"))
    (change,) = settling.writer.changes
    assert (change.task_id, change.task, change.queue) == ("t1", "work", QUEUE)
    assert (change.result, change.attempt, change.worker) == (b"1", 3, "w")
    assert (change.at, change.ttl, change.reply_to) == (NOW, 60.0, "r")


async def test_a_retry_is_stored_with_its_failure_and_the_time_of_the_next_run(settling):
    """The time of the next run counts from the time of settling."""
    await settling.settle(AGAIN)
    (change,) = settling.writer.changes
    assert (change.state, change.error, change.next_run) == (
        TaskState.RETRYING,
        FAILURE.error,
        NOW + 2.0,
    )


async def test_a_dead_task_is_stored_with_reason_and_traceback(settling):
    """The change has the reason, the error and the traceback."""
    await settling.settle(DEAD)
    (change,) = settling.writer.changes
    assert (change.reason, change.error, change.traceback) == (
        "retries-exhausted",
        FAILURE.error,
        FAILURE.traceback,
    )


# What is published


async def test_a_retry_goes_through_the_delays_with_one_attempt_more(settling):
    """A retry has the same body, the next attempt, and the failure in its history."""
    await settling.settle(AGAIN, read_job(headers={ATTEMPT: 1}))
    (publication,) = settling.transport.published
    assert publication.body == settling.delivery.body
    assert publication.exchange == NAMES.delay_exchange(1)
    assert publication.routing_key.endswith(QUEUE)
    assert publication.headers[ATTEMPT] == 2
    assert FAILURE.error in publication.headers[HISTORY][0]
    assert NOT_BEFORE not in publication.headers


@pytest.mark.parametrize("outcome", [Snoozed(delay=5.0, reason=""), Postponed(delay=5.0)])
async def test_a_later_run_spends_no_attempt(settling, outcome):
    """A snoozed or postponed message has the same attempt and a `NOT_BEFORE` time."""
    await settling.settle(outcome, read_job(headers={ATTEMPT: 1}))
    (publication,) = settling.transport.published
    assert publication.headers[ATTEMPT] == 1
    assert publication.headers[NOT_BEFORE] == timestamp(NOW + 5.0)


async def test_a_dead_letter_goes_to_the_dead_letter_exchange(settling):
    """The routing key is the queue, and the headers have the reason and the error."""
    await settling.settle(DEAD)
    (publication,) = settling.transport.published
    assert (publication.exchange, publication.routing_key) == (NAMES.dead, QUEUE)
    assert publication.headers[REASON] == "retries-exhausted"
    assert publication.headers[ERROR] == FAILURE.error


async def test_an_unverified_message_goes_to_the_rejected(settling):
    """An untrusted message goes to the rejected queue, not to the dead-letter queue."""
    one = job(b"x", untrusted=True)
    await settling.settle(Dead(reason=Reason.SIGNATURE_INVALID, failure=FAILURE), one)
    (publication,) = settling.transport.published
    assert publication.routing_key == REJECTED_KEY


async def test_headers_that_fill_a_frame_are_made_to_fit(settling):
    """A large foreign header is removed, and the reason is kept."""
    settling.transport.largest_headers = 4096
    settling.delivery.headers = {"x-own": "x" * 4000}
    await settling.settle(Dead(reason=Reason.REJECTED, failure=Failure(error="e" * 900)))
    (publication,) = settling.transport.published
    assert "x-own" not in publication.headers
    assert publication.headers[REASON] == "rejected"


@pytest.mark.parametrize(
    ("extra", "headers", "untrusted", "signed"),
    [
        ({MARK: True}, {}, False, True),
        ({}, {PUBLISH: "v1"}, False, True),
        ({}, {}, False, False),
        ({MARK: True}, {}, True, False),
    ],
)
async def test_the_next_publish_is_signed_if_that_of_the_message_was(
    extra, headers, untrusted, signed
):
    """The next publish is signed if the message was signed or marked, and the job is trusted."""
    settling = Settling(seal())
    one = read_job(untrusted=untrusted)
    object.__setattr__(one.message, "extra", extra)
    settling.delivery.headers = headers
    await settling.settle(AGAIN, one)
    header = settling.transport.published[0].headers.get(PUBLISH)
    assert (header not in {None, *headers.values()}) is signed


# Failures that pass


@pytest.mark.parametrize(
    "error",
    [BrokerUnavailableError("gone"), PublishTimeoutError("late"), PublishRefusedError("full")],
)
async def test_a_publish_that_fails_is_repeated_before_anything_else_happens(settling, error):
    """The state is stored, and the message acknowledged, only after the publish succeeded."""
    settling.transport.errors = [error, error]
    assert await settling.settle(AGAIN)
    assert settling.events[:5] == [
        "publish fails",
        "publish fails",
        "publish",
        "store retrying",
        "ack",
    ]


@pytest.mark.parametrize("outcome", [DONE, AGAIN])
async def test_a_state_is_stored_again_and_again_until_the_backend_is_back(settling, outcome):
    """The message is acknowledged only after the state is stored."""
    settling.writer.errors = [BackendUnavailableError("gone")] * 3
    assert await settling.settle(outcome)
    assert settling.events.count("store fails") == 3
    assert settling.events.index("ack") > settling.events.index(
        "store succeeded" if outcome is DONE else "store retrying"
    )


async def test_a_full_dead_letter_queue_is_reported_and_waited_for(settling, caplog):
    """The signal is sent, and the publish is repeated until there is room."""
    settling.transport.errors = [PublishRefusedError("full")]
    assert await settling.settle(DEAD)
    assert settling.events[:4] == [
        "publish fails",
        "task-dead-letter-refused",
        "publish",
        "store failed",
    ]
    assert "is full" in caplog.text


async def test_a_delivery_of_a_closed_channel_is_not_settled(settling, caplog):
    """`settle` returns False and sends no signal, since the broker delivers the message again."""
    settling.delivery.stale = True
    assert not await settling.settle(DONE)
    assert settling.events == ["store succeeded"]
    assert "delivers it again" in caplog.text


async def test_a_cancelled_settlement_requeues_its_message(settling):
    """When the worker cancels a settlement, the message is requeued."""
    settling.transport.errors = [BrokerUnavailableError("gone")] * 1_000_000
    task = asyncio.create_task(settling.settle(AGAIN))
    await eventually(lambda: settling.events)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert settling.events[-1] == "nack, requeue"


async def test_requeueing_over_a_closed_channel_is_no_error(settling):
    """A stale delivery raises nothing, since the broker has requeued it already."""
    settling.delivery.stale = True
    settling.transport.errors = [BrokerUnavailableError("gone")] * 1_000_000
    task = asyncio.create_task(settling.settle(AGAIN))
    await eventually(lambda: settling.events)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Failures that do not pass


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("outcome", [AGAIN, DEAD])
async def test_a_message_whose_next_publish_the_broker_refuses_is_rejected(settling, outcome):
    """The message is rejected, the record says that it has failed, and a signal is sent."""
    settling.transport.errors = [BrokerRefusedError("no permission")] * 3
    assert await settling.settle(outcome)
    assert [one for one in settling.events if one != "publish fails"] == [
        "store failed",
        "reject",
        "task-settle-refused",
    ]
    assert settling.settler.refused == 1
    (change,) = settling.writer.changes
    assert change.reason == ("rejected" if outcome is AGAIN else "retries-exhausted")


@pytest.mark.usefixtures("impatient")
async def test_a_task_whose_next_run_is_unroutable_is_a_dead_letter(settling):
    """The error of the dead letter has the failure of the run and the missing route."""
    settling.transport.errors = [UnroutableError("no queue")] * 2
    assert await settling.settle(AGAIN)
    assert settling.events[-5:-1] == ["publish", "store failed", "ack", "task-failed"]
    (publication,) = settling.transport.published
    assert publication.exchange == NAMES.dead
    assert publication.headers[REASON] == "rejected"
    assert publication.headers[ERROR].startswith(FAILURE.error)
    assert "its next run is unroutable" in publication.headers[ERROR]


@pytest.mark.usefixtures("impatient")
async def test_a_dead_letter_that_no_queue_takes_is_published_until_one_does(settling):
    """An unroutable dead letter is published again without a limit."""
    settling.transport.errors = [UnroutableError("no queue")] * 5
    assert await settling.settle(DEAD)
    assert settling.events.count("publish fails") == 5
    assert "ack" in settling.events


async def test_a_publish_that_can_never_be_written_ends_in_a_rejection(settling, caplog):
    """The message counts as a failure of the worker, and its record has that reason."""
    settling.transport.errors = [UnwritableError("too large")]
    assert await settling.settle(AGAIN)
    assert settling.events == ["publish fails", "reject", "store failed"]
    assert settling.settler.failures == 1
    assert settling.writer.changes[0].reason == "worker-failed"
    assert "cannot be settled" in caplog.text


async def test_a_result_that_can_never_be_stored_ends_in_a_rejection(settling):
    """A success whose result cannot be stored is rejected, and counts as a failure."""
    settling.writer.errors = [ValueError("no such column")]
    assert await settling.settle(DONE)
    assert settling.events[:2] == ["store fails", "reject"]
    assert settling.settler.failures == 1


async def test_a_state_that_can_never_be_stored_is_left_out(settling, caplog):
    """The error is logged, and the message is acknowledged."""
    settling.writer.errors = [ValueError("no such column")]
    assert await settling.settle(AGAIN)
    assert settling.events[:3] == ["publish", "store fails", "ack"]
    assert "cannot be stored" in caplog.text


async def test_a_reply_that_is_refused_is_given_up_and_the_task_is_settled(settling):
    """After `REPLY_TRIES` refusals, the reply is counted, and its signal is sent."""
    settling.writer.errors = [ReplyRefusedError("full")] * persist.REPLY_TRIES
    assert await settling.settle(DONE)
    assert settling.events == [
        *["store fails"] * persist.REPLY_TRIES,
        "task-reply-given-up",
        "ack",
        "task-succeeded",
    ]
    assert settling.settler.replies_given_up == 1


async def test_a_rejection_over_a_closed_channel_settles_nothing(settling):
    """`abandon` returns False and stores no failure: the broker delivers the message again."""
    settling.delivery.stale = True
    assert not await settling.settler.abandon(settling.delivery, read_job(), ValueError("bug"))
    assert settling.events == []


async def test_an_abandoned_message_is_rejected_even_if_its_state_cannot_be_stored(
    settling, caplog
):
    """The message is rejected first, and an error of the backend is logged."""
    settling.writer.errors = [BackendError("broken")]

    async def take(job, step, *args, **named):
        await step()

    settling.settler._recorder._persistence.take = take
    assert await settling.settler.abandon(settling.delivery, read_job(), ValueError("bug"))
    assert settling.events[0] == "reject"
    assert "cannot be stored" in caplog.text


# Keys of unique tasks


@pytest.mark.parametrize(
    ("outcome", "released"),
    [
        (DONE, True),
        (DEAD, True),
        (Revoked(reason="r"), True),
        (Repeated(state=TaskState.FAILED), True),
        (Repeated(state=TaskState.RETRYING), False),
        (Repeated(), False),
        (AGAIN, False),
        (Snoozed(delay=1.0, reason=""), False),
        (Postponed(delay=1.0), False),
    ],
)
async def test_the_key_of_a_unique_task_is_released_when_it_has_ended(settling, outcome, released):
    """The key is released before the acknowledgement, and only if the task does not run again."""
    await settling.settle(outcome, read_job(options={"unique_key": "k"}))
    assert ("release k of t1" in settling.events) is released
    if released:
        assert settling.events.index("release k of t1") < settling.events.index("ack")


async def test_a_backend_that_keeps_no_keys_holds_no_task_up(settling, caplog):
    """The message is acknowledged with a warning, and the key expires by itself."""
    settling.keys.error = ConfigurationError("no keys")
    assert await settling.settle(DONE, read_job(options={"unique_key": "k"}))
    assert "ack" in settling.events
    assert "unique" in caplog.text


# Discarding


async def test_discarding_acknowledges():
    """`discard` acknowledges a message, and raises if its channel is closed."""
    delivery = FakeDelivery()
    await discard(delivery)
    assert delivery.events == ["ack"]
    delivery.stale = True
    with pytest.raises(StaleDeliveryError):
        await discard(delivery)
