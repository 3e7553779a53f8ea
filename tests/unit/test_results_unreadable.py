"""Damaged or foreign records: reading never fails, and reports what it skips."""

import logging
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.cli.record_view import document
from stem_amqp.errors import DecodeError
from stem_amqp.results.base import Transition
from stem_amqp.results.redis.tasks import RedisTasks, _written
from stem_amqp.results.rpc import wire
from stem_amqp.results.sql_listing import place_of, record_of
from stem_amqp.results.unreadable import SKIPPED, Unread, read_rows
from stem_amqp.states import TaskState
from stem_amqp.text.printable import json_text

NOW = 1_700_000_000.0
GOOD = _written(
    Transition(
        task_id="a",
        task="shop.sync",
        queue="orders",
        state=TaskState.SUCCEEDED,
        at=NOW,
        meta={"tenant": "acme"},
        result=b'{"total":3}',
    ),
    NOW,
)
ROW = ["a", "t", "q", "succeeded", 0, 0, NOW, NOW, "w", b"1", None, None, None, None, None, None]
TASKS = RedisTasks(None, "t")
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_column = _json | st.binary(max_size=6)


@st.composite
def damaged(draw):
    """Return a good record with one part replaced."""
    start = draw(st.integers(0, len(GOOD)))
    end = draw(st.integers(start, min(len(GOOD), start + 12)))
    return GOOD[:start] + draw(st.binary(max_size=6)) + GOOD[end:]


@given(damaged() | st.binary(max_size=60))
def test_whatever_redis_has_it_is_a_record_or_none(value):
    """Every record that is read can also be shown."""
    record = TASKS.record("a", value, NOW)
    if record is not None:
        json_text(document(record))


@given(st.dictionaries(st.integers(0, len(ROW) - 1), _column, max_size=4))
def test_whatever_a_row_has_it_is_a_record_or_skipped(changes):
    """SQLite's columns accept values of any type."""
    row = [changes.get(index, value) for index, value in enumerate(ROW)]
    (found,) = read_rows([row], record_of, place_of)
    if isinstance(found, Unread):
        assert (found.created_at, found.task_id) == (row[6], row[0]) or row[6] != row[6]
    else:
        json_text(document(found))


@given(st.sampled_from([wire.TRANSITION, wire.PROGRESS, "other", None]), _json)
def test_whatever_a_reply_has_it_is_a_reply_or_undecodable(kind, fields):
    """Other programs can publish to a reply queue."""
    body = json_text(fields).encode()
    with suppress(DecodeError):
        wire.decode(kind, body)


def test_what_is_skipped_is_named_once_and_counted_each_time(caplog):
    """A list that is read every second does not fill the log."""
    before = SKIPPED.count
    with caplog.at_level(logging.WARNING, "stem_amqp.results"):
        for _ in range(3):
            assert TASKS.record("named", b"junk", NOW) is None
    assert SKIPPED.count == before + 3
    assert len(caplog.records) == 1
    assert "'named' cannot be read and is skipped" in caplog.text
