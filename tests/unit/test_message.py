"""The message body on the wire, and what is copied when it is published again."""

import re
import uuid

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.errors import ConfigurationError, DecodeError
from stem_amqp.messages.message import (
    ID_BYTES,
    TaskMessage,
    _check_fields,
    copied_headers,
    decode,
    new_id,
    shortened,
)


def message(**changes):
    values = {"id": "i-1", "task": "orders.sync", "args": {"order_id": "42"}}
    return TaskMessage(**{**values, **changes})


def test_a_message_is_read_as_it_was_written():
    """Encoding and decoding lose nothing."""
    before = message(
        meta={"request_id": "r"}, enqueued_at="2026-01-02T03:04:05.678Z", root="a", parent="b",
        expires="2026-01-02T03:05:05.000Z", options={"max_retries": 2}, group="g",
    )  # fmt: skip
    assert decode(before.encode()) == before


def test_unused_fields_are_not_written():
    """A typical message is small."""
    assert set(orjson.loads(message().encode())) == {
        "v", "id", "task", "args", "meta", "enqueued_at",
    }  # fmt: skip


def test_unknown_fields_are_kept():
    """Fields of a later version are kept by decode and encode."""
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
    """An unreadable body raises an error that has the bytes."""
    with pytest.raises(DecodeError) as caught:
        decode(body)
    assert caught.value.body == body


SOME_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.text(max_size=3),
    st.sampled_from(["a", "é", "😀"]).flatmap(
        lambda character: st.integers(ID_BYTES // 4 - 1, ID_BYTES + 1).map(character.__mul__)
    ),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)
FIELDS = [
    "id",
    "task",
    "args",
    "meta",
    "enqueued_at",
    "root",
    "parent",
    "expires",
    "options",
    "group",
]


@given(st.dictionaries(st.sampled_from(FIELDS), SOME_VALUES))
def test_a_body_is_read_if_each_of_its_fields_is_valid(changes):
    """What needs no look at each field is what such a look would accept, with the same values."""
    data = {"v": 1, "id": "i", "task": "t", "args": {}} | changes
    body = orjson.dumps(data)
    try:
        _check_fields(data, body)
    except DecodeError as error:
        with pytest.raises(DecodeError, match=f"^{re.escape(str(error))}$"):
            decode(body)
    else:
        read = decode(body)
        known = {name: value for name, value in data.items() if value is not None and name != "v"}
        assert {name: getattr(read, name) for name in known} == known


def test_arguments_that_json_cannot_carry_are_refused():
    """The error is raised in the producer, not in the worker."""
    with pytest.raises(ConfigurationError, match=r"orders\.sync"):
        message(args={"file": object()}).encode()


def test_an_id_is_a_uuid_of_version_7_and_sorts_by_time():
    """Ids of one process are unique, and later ones have a larger millisecond part."""
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert {uuid.UUID(value).version for value in ids} == {7}
    stamps = [uuid.UUID(value).int >> 80 for value in ids]
    assert stamps == sorted(stamps)


def test_death_records_and_copies_do_not_go_along():
    """Brokers before 4.0 treat an x-death from a client as a cycle and drop the retry."""
    headers = {
        "x-death": [{}], "x-first-death-queue": "q", "x-last-death-reason": "r", "CC": ["a"],
        "BCC": ["b"], "x-delivery-count": 3, "stem-attempt": 1, "tenant": "acme",
    }  # fmt: skip
    assert copied_headers(headers) == {"stem-attempt": 1, "tenant": "acme"}


def test_long_texts_are_cut_with_a_mark():
    """Headers stay small; of a traceback the end is kept."""
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdefghij", 9) == "abcde …"
    assert shortened("abcdefghij", 9, keep_end=True) == "… fghij"


@given(st.text(st.characters(exclude_categories=())), st.integers(8, 40), st.booleans())
def test_cut_texts_fit_in_bytes_and_can_be_written(text, limit, keep_end):
    """Limits are bytes of UTF-8, for any characters; lone surrogates are escaped."""
    assert len(shortened(text, limit, keep_end=keep_end).encode()) <= limit
