"""Reading a dead letter of any origin and content."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.cli.dead_letter_view import document, list_view, show_view
from stem_amqp.dead_letter import UNKNOWN, DeadLetter, Selection
from stem_amqp.messages.message import TaskMessage
from stem_amqp.text.printable import json_text

WORK = "t.orders"
MOMENT = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def read(body=b"", headers=None, **properties):
    """Return the dead letter that is read from bytes, headers and properties."""
    given = {"type": None, "correlation_id": None, "message_id": None} | properties
    delivery = SimpleNamespace(body=body, headers=headers or {}, **given)
    return DeadLetter.read(delivery, position=1, work_queues={WORK})


def death(queue=WORK, reason="delivery_limit", time=MOMENT):
    """Return one entry of x-death."""
    return {"count": 1, "queue": queue, "reason": reason, "time": time, "exchange": "t.tasks"}


def message(**values):
    """Return the body of a task."""
    return TaskMessage(**{"id": "id-1", "task": "orders.sync", "args": {}} | values).encode()


def test_a_dead_letter_shows_what_the_worker_wrote():
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
    """Without a worker's reason, the x-death entry of the work queue gives reason and time."""
    letter = read(message(), {"x-death": [death(reason=of_broker)]})
    assert letter.reason == ours
    assert letter.failed_at == MOMENT
    assert letter.error is None


def test_the_death_in_a_delay_queue_is_not_why_a_letter_is_dead():
    """The first death of a retry is by the TTL of the delay queue, which is not a failure."""
    earlier = death(queue="t.zz-delay.0000002.0s", reason="expired", time=MOMENT.replace(hour=1))
    headers = {"x-first-death-reason": "expired", "x-death": [death(), earlier]}
    assert read(message(), headers).reason == "delivery-limit"
    assert read(message(), headers | {"x-death": [earlier, death()]}).failed_at == MOMENT


def test_without_a_death_in_the_work_queue_the_newest_death_names_the_queue():
    """A dead letter that was moved from another queue has the reason of its last death."""
    deaths = [death(queue="elsewhere", reason="maxlen"), death(queue="other", reason="expired")]
    assert read(message(), {"x-death": deaths}).reason == "queue-length"


def test_without_a_record_the_first_death_names_the_queue():
    """The header gives a reason but no time."""
    letter = read(message(), {"x-first-death-reason": "maxlen"})
    assert (letter.reason, letter.failed_at) == ("queue-length", None)


def test_a_dead_letter_without_a_reason_is_unknown():
    """A message that was published into the queue by hand is listed too."""
    assert read(message()).reason == UNKNOWN


def test_a_body_that_cannot_be_read_keeps_its_bytes_and_gets_an_id():
    """It can be shown and selected by the task's id in its properties, or else the message's."""
    letter = read(b"\xff\x00", type="orders.sync", correlation_id="c-1", message_id="m-1")
    assert (letter.id, letter.task, letter.body) == ("c-1", "orders.sync", b"\xff\x00")
    assert not letter.decodable
    assert "is not JSON" in letter.problem
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
    """Headers of other programs do not make a listing fail."""
    letter = read(message(), headers)
    assert letter.failed_at is None
    assert (letter.attempt, letter.replays, letter.history) == (0, 0, ())


def test_a_death_without_a_zone_is_in_utc():
    """AMQP times are in UTC, even if the client library sets no time zone."""
    letter = read(message(), {"x-death": [death(time=MOMENT.replace(tzinfo=None))]})
    assert letter.failed_at == MOMENT


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.none() | st.just(UTC))
)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
_deaths = st.lists(
    st.dictionaries(st.sampled_from(["queue", "reason", "time", "count"]), _values) | _values,
    max_size=3,
)
_OURS = [
    "stem-reason",
    "stem-error",
    "stem-traceback",
    "stem-failed-at",
    "stem-attempt",
    "stem-replays",
    "stem-worker",
    "stem-history",
    "stem-encryption",
    "stem-signature",
    "x-first-death-reason",
    "x-delivery-count",
]


@given(
    st.dictionaries(st.sampled_from(_OURS), _values),
    _deaths | _values,
    st.binary(max_size=20) | st.just(message()),
)
def test_whatever_its_headers_are_a_letter_can_be_read_chosen_and_shown(headers, deaths, body):
    """A field table can hold any value: one dead letter must not hide the others."""
    letter = read(body, {**headers, "x-death": deaths})
    Selection(tasks="orders.*", older_than=1.0).matches(letter, 2e9)
    Selection(reasons=frozenset({"unknown"})).matches(letter, 2e9)
    json_text(document(letter, whole=True))
    show_view(letter)
    list_view([letter])
