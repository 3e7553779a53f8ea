"""The body on the wire, and what goes along when it is published again."""

import uuid

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.errors import ConfigurationError, DecodeError
from stem_amqp.message import TaskMessage, carried_headers, decode, new_id, shortened


def message(**changes):
    values = {"id": "i-1", "task": "orders.sync", "args": {"order_id": "42"}}
    return TaskMessage(**{**values, **changes})


def test_a_message_is_read_as_it_was_written():
    """Nothing is lost on the wire."""
    before = message(
        meta={"request_id": "r"}, enqueued_at="2026-01-02T03:04:05.678Z", root="a", parent="b",
        expires="2026-01-02T03:05:05.000Z", options={"max_retries": 2}, group="g",
    )  # fmt: skip
    assert decode(before.encode()) == before


def test_unused_fields_are_not_written():
    """The common message is small."""
    assert set(orjson.loads(message().encode())) == {
        "v", "id", "task", "args", "meta", "enqueued_at",
    }  # fmt: skip


def test_unknown_fields_are_kept():
    """A later version's fields survive a decode and an encode."""
    body = orjson.dumps({"v": 1, "id": "i", "task": "t", "args": {}, "later": [1]})
    assert orjson.loads(decode(body).encode())["later"] == [1]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff\x00", b"[]", b'"x"', b"{}", b'{"v":2,"id":"i","task":"t","args":{}}',
        b'{"v":1,"id":1,"task":"t","args":{}}', b'{"v":1,"id":"i","task":"t","args":[]}',
        b'{"v":1,"id":"i","task":"t"}', b'{"v":1,"id":"i","task":"t","args":{},"meta":[]}',
        b'{"v":1,"id":"i","task":"t","args":{},"options":"x"}',
    ],
)  # fmt: skip
def test_what_is_no_task_message_keeps_its_bytes(body):
    """A body that cannot be read is an error that carries the bytes."""
    with pytest.raises(DecodeError) as caught:
        decode(body)
    assert caught.value.body == body


def test_arguments_that_json_cannot_carry_are_refused():
    """The producer hears of it, not the worker."""
    with pytest.raises(ConfigurationError, match=r"orders\.sync"):
        message(args={"file": object()}).encode()


def test_an_id_is_a_uuid_of_version_7_and_sorts_by_time():
    """Ids of one process are unique, and later ones are larger in their millisecond part."""
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert {uuid.UUID(value).version for value in ids} == {7}
    stamps = [uuid.UUID(value).int >> 80 for value in ids]
    assert stamps == sorted(stamps)


def test_death_records_and_copies_do_not_go_along():
    """Brokers before 4.0 would read a client-sent x-death as a cycle and drop the retry."""
    headers = {
        "x-death": [{}], "x-first-death-queue": "q", "x-last-death-reason": "r", "CC": ["a"],
        "BCC": ["b"], "x-delivery-count": 3, "stem-attempt": 1, "tenant": "acme",
    }  # fmt: skip
    assert carried_headers(headers) == {"stem-attempt": 1, "tenant": "acme"}


def test_long_texts_are_cut_with_a_mark():
    """Headers stay small; of a traceback the end is kept."""
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdefghij", 9) == "abcde …"
    assert shortened("abcdefghij", 9, keep_end=True) == "… fghij"


@given(st.text(st.characters(exclude_categories=())), st.integers(8, 40), st.booleans())
def test_cut_texts_fit_in_bytes_and_can_be_written(text, limit, keep_end):
    """Limits are bytes of UTF-8, whatever the characters; lone surrogates are escaped."""
    assert len(shortened(text, limit, keep_end=keep_end).encode()) <= limit
