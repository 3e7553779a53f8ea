"""Tests of the messages that replace a delivery: the same body, with other headers."""

import pytest
from worker_fakes import NOW, QUEUE, FakeDelivery, read_job, topology

from stem_amqp.clock import timestamp
from stem_amqp.messages.headers import size_of
from stem_amqp.messages.message import (
    ATTEMPT,
    ERROR,
    ERROR_LIMIT,
    FAILED_AT,
    HISTORY,
    HISTORY_LIMIT,
    NOT_BEFORE,
    REASON,
    REPLAYS,
    SINCE,
    TRACEBACK,
    WORKER,
)
from stem_amqp.messages.message import (
    QUEUE as QUEUE_HEADER,
)
from stem_amqp.outcome import Dead, Failure, Retried
from stem_amqp.signing.publish import PUBLISH
from stem_amqp.states import Reason
from stem_amqp.topology.delay_router import DelayRouter
from stem_amqp.topology.names import REJECTED_KEY, Names
from stem_amqp.worker.follow_up.again import later, retry_of
from stem_amqp.worker.follow_up.republish import dead_letter, fitted, replay, retry_headers

NAMES = Names("stem")
DELAYS = DelayRouter(NAMES, topology())
FAILURE = Failure(error="ValueError: no", traceback="Traceback …")
LETTER = {
    REASON: "rejected",
    ERROR: "e",
    TRACEBACK: "t",
    FAILED_AT: timestamp(NOW),
    WORKER: "w",
    HISTORY: ["h"],
}


def dead(headers=None, *, attempt=0, rejected=False, failure=FAILURE, worker="w"):
    """Return the dead letter of a delivery."""
    dead = Dead(reason=Reason.REJECTED, failure=failure)
    delivery = FakeDelivery(content=b"body", headers=headers or {}, priority=3, type="work")
    return dead_letter(
        delivery, NAMES, QUEUE, dead, attempt=attempt, now=NOW, worker=worker, rejected=rejected
    )


# Retries


def test_the_next_attempt_has_the_failure_in_its_history():
    """The failure follows the earlier ones, with its time and attempt."""
    headers = retry_headers(
        {"own": 1, HISTORY: ["first"], NOT_BEFORE: "x"}, attempt=1, failure=FAILURE, now=NOW
    )
    assert headers == {
        "own": 1,
        ATTEMPT: 2,
        HISTORY: ["first", f"{timestamp(NOW)} #1 {FAILURE.error}"],
    }


@pytest.mark.parametrize("before", [None, "text", 7, [1, 2]])
def test_an_invalid_history_is_replaced(before):
    """A history header that is not a list of texts is replaced."""
    headers = retry_headers({HISTORY: before}, attempt=0, failure=FAILURE, now=NOW)
    assert len(headers[HISTORY]) == 1


def test_a_history_keeps_the_last_failures_only_and_each_of_them_short():
    """The history has at most `HISTORY_LIMIT` entries of at most 256 bytes."""
    headers = {HISTORY: [str(number) for number in range(30)]}
    found = retry_headers(headers, attempt=0, failure=Failure(error="x" * 900), now=NOW)[HISTORY]
    assert len(found) == HISTORY_LIMIT
    assert found[0] == str(30 - HISTORY_LIMIT + 1)
    assert len(found[-1].encode()) <= 256


@pytest.mark.parametrize(
    ("delay", "exchange"), [(0.0, NAMES.tasks), (2.0, NAMES.delay_exchange(1))]
)
def test_a_retry_waits_in_the_delay_queues_unless_it_is_due(delay, exchange):
    """A retry without a delay goes to the task exchange; neither has a `SINCE` header."""
    delivery = FakeDelivery(content=b"body", headers={"own": 1})
    outcome = Retried(failure=FAILURE, delay=delay)
    found = retry_of(delivery, DELAYS, read_job(), outcome, NOW)
    assert (found.exchange, found.body) == (exchange, b"body")
    assert found.headers[ATTEMPT] == 1
    assert SINCE not in found.headers


def test_the_age_is_sent_if_the_body_does_not_contain_it():
    """The `SINCE` header of a delayed task's retry has the time when the task was due."""
    headers = {NOT_BEFORE: timestamp(NOW - 5)}
    delivery = FakeDelivery(headers=headers)
    found = retry_of(
        delivery, DELAYS, read_job(headers=headers), Retried(failure=FAILURE, delay=1.0), NOW
    )
    assert found.headers[SINCE] == timestamp(NOW - 5)
    assert NOT_BEFORE not in found.headers


def test_a_later_run_has_the_same_attempt_and_the_time_to_wait_for():
    """The message has the same attempt, its `NOT_BEFORE` time, and the time its age counts from."""
    job = read_job(headers={ATTEMPT: 2})
    found = later(FakeDelivery(headers={ATTEMPT: 2}), DELAYS, job, 5.0, NOW)
    assert found.headers == {
        ATTEMPT: 2,
        NOT_BEFORE: timestamp(NOW + 5.0),
        SINCE: job.message.enqueued_at,
    }


# Dead letters


def test_a_dead_letter_is_the_same_message_with_headers_about_the_failure():
    """The dead letter has the same body and properties, and headers about the failure."""
    letter = dead({"own": 1, NOT_BEFORE: "x", TRACEBACK: "old"}, attempt=3)
    assert (letter.exchange, letter.routing_key, letter.body) == (NAMES.dead, QUEUE, b"body")
    assert (letter.priority, letter.type) == (3, "work")
    assert letter.headers == {
        "own": 1,
        REASON: "rejected",
        ATTEMPT: 3,
        ERROR: FAILURE.error,
        TRACEBACK: FAILURE.traceback,
        FAILED_AT: timestamp(NOW),
        WORKER: "w",
        HISTORY: [f"{timestamp(NOW)} #3 {FAILURE.error}"],
    }


def test_the_traceback_of_an_earlier_death_is_no_longer_true():
    """A failure without a traceback removes the traceback of an earlier one."""
    assert TRACEBACK not in dead({TRACEBACK: "old"}, failure=Failure(error="e")).headers


def test_long_texts_of_a_dead_letter_are_cut():
    """Error, traceback and worker are cut to their limits; the end of the traceback is kept."""
    failure = Failure(error="e" * 5000, traceback="begin" + "t" * 20_000 + "end")
    headers = dead(failure=failure, worker="w" * 500).headers
    assert len(headers[ERROR].encode()) <= ERROR_LIMIT
    assert headers[TRACEBACK].endswith("end")
    assert len(headers[TRACEBACK].encode()) <= 8192
    assert len(headers[WORKER].encode()) <= 255


def test_an_unverified_message_goes_to_the_rejected_queue():
    """A rejected message has its own routing key, and its queue in a header."""
    letter = dead(rejected=True)
    assert (letter.routing_key, letter.headers[QUEUE_HEADER]) == (REJECTED_KEY, QUEUE)


def test_a_replay_starts_again():
    """A replay has attempt 0, one more replay, and an age that counts from now."""
    headers = LETTER | {"own": 1, ATTEMPT: 4, REPLAYS: 1, QUEUE_HEADER: QUEUE, SINCE: "old"}
    found = replay(FakeDelivery(content=b"body", headers=headers), NAMES, QUEUE, now=NOW)
    assert (found.exchange, found.routing_key, found.body) == (NAMES.tasks, QUEUE, b"body")
    assert found.headers == {"own": 1, REPLAYS: 2, SINCE: timestamp(NOW)}


# Headers that do not fit


def test_headers_that_fit_stay_as_they_are():
    """Headers within the limit are not changed."""
    assert fitted(LETTER, 100_000) == LETTER


@pytest.mark.parametrize("limit", [700, 1200, 2500, 5000])
def test_headers_are_made_to_fit_and_the_reason_stays(limit):
    """Long texts of stem-amqp are shortened first; then the largest foreign header is removed."""
    headers = LETTER | {
        TRACEBACK: "t" * 8000,
        ERROR: "e" * 1000,
        HISTORY: ["h" * 200] * 10,
        "large": "x" * 3000,
        "small": "y",
    }
    found = fitted(headers, limit)
    assert size_of(found) <= limit
    assert found[REASON] == "rejected"
    assert found["small"] == "y"
    assert len(found[ERROR]) >= 100


def test_a_traceback_is_cut_before_anything_is_left_out():
    """The traceback is shortened to its end, and foreign headers are kept."""
    headers = LETTER | {TRACEBACK: "t" * 4000 + "end", "foreign": "x" * 1000}
    found = fitted(headers, 3000)
    assert found["foreign"] == "x" * 1000
    assert found[TRACEBACK].endswith("end")


def test_the_signature_of_a_publish_stays_as_long_as_it_is_small():
    """A small signature is kept, and a large one, which stem-amqp never writes, is removed."""
    foreign = {"foreign": "x" * 5000}
    assert PUBLISH in fitted({PUBLISH: "s" * 500} | foreign, 1500)
    assert PUBLISH not in fitted({PUBLISH: "s" * 2000} | foreign, 1500)
    smaller = {"foreign": "x" * 400}
    assert fitted({PUBLISH: "s" * 500} | smaller, 700) == {PUBLISH: "s" * 500}


def test_what_cannot_be_written_is_left_out_and_said(caplog):
    """A header that cannot be encoded is removed and logged, so the message can be published."""
    assert fitted({"own": 1, "bad": object()}, 1000) == {"own": 1}
    assert "bad" in caplog.text
