"""Reading a dead letter, whoever put it there and whatever is in it."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from stem_amqp.dead_letter import UNKNOWN, DeadLetter
from stem_amqp.message import TaskMessage

WORK = "t.orders"
MOMENT = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def read(body=b"", headers=None, **properties):
    """Read a letter from bytes, headers and properties."""
    given = {"type": None, "correlation_id": None, "message_id": None} | properties
    delivery = SimpleNamespace(body=body, headers=headers or {}, **given)
    return DeadLetter.read(delivery, position=1, work_queues={WORK})


def death(queue=WORK, reason="delivery_limit", time=MOMENT):
    """Return one entry of x-death."""
    return {"count": 1, "queue": queue, "reason": reason, "time": time, "exchange": "t.tasks"}


def message(**values):
    """Return the body of a task."""
    return TaskMessage(**{"id": "id-1", "task": "orders.sync", "args": {}} | values).encode()


def test_a_letter_tells_what_the_worker_wrote():
    """Body and headers of a worker's dead letter become its fields."""
    letter = read(
        message(
            args={"order": "42"},
            meta={"request": "r-7"},
            enqueued_at="2026-05-04T12:00:00.000Z",
        ),
        {
            "stem-reason": "retries-exhausted",
            "stem-error": "KeyError: 'JPY'",
            "stem-traceback": "Traceback …",
            "stem-failed-at": "2026-05-04T12:30:00.000Z",
            "stem-attempt": 3,
            "stem-replays": 2,
            "stem-worker": "host:1:abc",
            "stem-history": ["first", "second"],
        },
    )
    assert (letter.id, letter.task, letter.args) == ("id-1", "orders.sync", {"order": "42"})
    assert letter.meta == {"request": "r-7"}
    assert letter.enqueued_at == datetime(2026, 5, 4, 12, tzinfo=UTC)
    assert (letter.reason, letter.error) == ("retries-exhausted", "KeyError: 'JPY'")
    assert (letter.traceback, letter.worker) == ("Traceback …", "host:1:abc")
    assert letter.failed_at == MOMENT
    assert (letter.attempt, letter.replays) == (3, 2)
    assert letter.history == ("first", "second")
    assert letter.decodable
    assert letter.size == len(letter.body)


@pytest.mark.parametrize(
    ("of_broker", "ours"),
    [
        ("delivery_limit", "delivery-limit"),
        ("expired", "queue-ttl"),
        ("maxlen", "queue-length"),
        ("rejected", "rejected"),
        ("something_new", "something_new"),
    ],
)
def test_what_rabbitmq_dead_lettered_itself_has_its_reason_in_our_words(of_broker, ours):
    """Without a worker's reason the work queue's x-death tells it, and the time."""
    letter = read(message(), {"x-death": [death(reason=of_broker)]})
    assert letter.reason == ours
    assert letter.failed_at == MOMENT
    assert letter.error is None


def test_the_death_in_a_delay_queue_is_not_why_a_letter_is_dead():
    """A retry died of the delay queue's TTL first, which is no failure."""
    earlier = death(queue="t.delay.0000002.0s", reason="expired", time=MOMENT.replace(hour=1))
    headers = {"x-first-death-reason": "expired", "x-death": [death(), earlier]}
    assert read(message(), headers).reason == "delivery-limit"
    assert read(message(), headers | {"x-death": [earlier, death()]}).failed_at == MOMENT


def test_the_newest_death_tells_where_the_work_queue_has_none():
    """A letter that was moved here from elsewhere has the reason of its last death."""
    deaths = [death(queue="elsewhere", reason="maxlen"), death(queue="other", reason="expired")]
    assert read(message(), {"x-death": deaths}).reason == "queue-length"


def test_the_first_death_tells_where_there_is_no_record():
    """The header alone is enough for a reason, not for a time."""
    letter = read(message(), {"x-first-death-reason": "maxlen"})
    assert (letter.reason, letter.failed_at) == ("queue-length", None)


def test_a_letter_that_does_not_tell_why_is_unknown():
    """A message that somebody published into the queue by hand is listed too."""
    assert read(message()).reason == UNKNOWN


def test_a_body_that_cannot_be_read_keeps_its_bytes_and_gets_an_id():
    """It can be seen and chosen by the id in its properties, the task's before the message's."""
    letter = read(b"\xff\x00", type="orders.sync", correlation_id="c-1", message_id="m-1")
    assert (letter.id, letter.task, letter.body) == ("c-1", "orders.sync", b"\xff\x00")
    assert not letter.decodable
    assert "no JSON" in letter.problem
    assert read(b"{}", message_id="m-1").id == "m-1"
    assert read(b"{}").id is None


@pytest.mark.parametrize(
    "headers",
    [
        {"stem-failed-at": "yesterday"},
        {"stem-failed-at": 12},
        {"x-death": "no list"},
        {"x-death": ["no table"]},
        {"x-death": [{"queue": WORK}]},
        {"stem-history": "no list", "stem-attempt": "three", "stem-replays": -1},
        {"stem-error": 7, "stem-worker": b"bytes"},
    ],
)
def test_headers_of_any_shape_can_be_read(headers):
    """What somebody else wrote into the headers makes no listing fail."""
    letter = read(message(), headers)
    assert letter.failed_at is None
    assert (letter.attempt, letter.replays, letter.history) == (0, 0, ())


def test_a_death_without_a_zone_is_in_utc():
    """AMQP times are in UTC, whether the client library says so or not."""
    letter = read(message(), {"x-death": [death(time=MOMENT.replace(tzinfo=None))]})
    assert letter.failed_at == MOMENT
