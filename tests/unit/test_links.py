"""The wire format of compositions: what is written is read back, and what is malformed is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from stem_amqp.errors import DecodeError
from stem_amqp.messages.links import (
    LONGEST,
    NESTING,
    GroupNode,
    LinkNode,
    Links,
    Source,
    encode_chain,
)
from stem_amqp.messages.message import TaskMessage, decode
from stem_amqp.messages.reading import decode_chain, decode_links

_LINK = LinkNode(
    task="orders.pay",
    queue="orders",
    args={"amount": 3},
    piped="order",
    options={"max_retries": 1, "delay": 2.5},
    ignore_result=True,
    on_success=(LinkNode(task="orders.mail"),),
    on_failure=(LinkNode(task="orders.alarm", piped="failure"),),
)
_GROUP = GroupNode(
    members=(
        _LINK,
        (LinkNode(task="a"), LinkNode(task="b")),
        GroupNode(members=()),
        (GroupNode(members=(), of=(0, 2), on=("x.0",)), LinkNode(task="c", watched=True)),
    ),
    policy="collect",
    results="stream",
    ttl=60.0,
)
_LINKS = Links(
    composition="c-1",
    index=4,
    then=(_LINK, _GROUP),
    on_success=(_LINK,),
    on_failure=(LinkNode(task="undo"),),
    source=Source(group="c-1.0", results="none", policy="ignore", parameter="results"),
    token="t-1",
    gates=((3, 0), (5, 1)),
    watched=True,
)


def test_a_message_carries_its_links_and_its_group() -> None:
    message = TaskMessage(id="c-1.0", task="first", args={}, group="g-1", links=_LINKS)

    read = decode(message.encode())

    assert read == message
    assert read.extra == {}


def test_a_message_outside_of_a_composition_has_no_field_for_it() -> None:
    body = TaskMessage(id="1", task="first", args={}).encode()

    assert b"links" not in body
    assert decode(body).links is None


def test_a_link_of_a_chain_has_only_the_fields_that_are_set() -> None:
    assert LinkNode(task="a").encode() == {"t": "a"}
    assert Links(composition="c").encode() == {"c": "c"}


@pytest.mark.parametrize(
    "data",
    [
        [],
        "text",
        {},
        {"c": ""},
        {"c": 1},
        {"c": "c", "i": -1},
        {"c": "c", "i": True},
        {"c": "c", "then": {}},
        {"c": "c", "then": ["a"]},
        {"c": "c", "then": [{}]},
        {"c": "c", "then": [{"t": ""}]},
        {"c": "c", "then": [{"t": "a", "a": []}]},
        {"c": "c", "then": [{"t": "a", "p": 1}]},
        {"c": "c", "then": [{"t": "a", "ir": 1}]},
        {"c": "c", "then": [{"g": {}}]},
        {"c": "c", "then": [{"g": None}]},
        {"c": "c", "then": [{"g": [], "f": "sometimes"}]},
        {"c": "c", "then": [{"g": [], "r": "table"}]},
        {"c": "c", "then": [{"g": [], "ttl": 0}]},
        {"c": "c", "then": [{"g": [], "ttl": "1d"}]},
        {"c": "c", "ok": [{"g": []}]},
        {"c": "c", "err": {}},
        {"c": "c", "from": []},
        {"c": "c", "from": {}},
        {"c": "c", "from": {"group": "g", "results": "table"}},
        {"c": "c", "token": 1},
        {"c": "c", "to": {}},
        {"c": "c", "w": 1},
        {"c": "c", "then": [{"t": "a", "w": 1}]},
        {"c": "c", "then": [{"g": [], "on": "a.0"}]},
        {"c": "c", "then": [{"g": [], "on": [1]}]},
        {"c": "c", "then": [{"g": [{"t": "a"}], "on": ["a.0"]}]},
        {"c": "c", "to": [1]},
        {"c": "c", "to": [[1]]},
        {"c": "c", "to": [[1, -1]]},
        {"c": "c", "to": [[1, True]]},
        {"c": "c", "then": [{"g": [], "of": 1}]},
        {"c": "c", "then": [{"g": [], "of": ["1"]}]},
        {"c": "c", "then": [{"g": [{"t": "a"}], "of": [1]}]},
    ],
)
def test_malformed_links_are_refused(data: Any) -> None:
    body = orjson.dumps({"v": 1, "id": "c.0", "task": "a", "args": {}, "links": data})

    with pytest.raises(DecodeError, match="links"):
        decode(body)


@pytest.mark.parametrize("task_id", ["c", "other.0", "cc.0", "c.last"])
def test_an_id_without_a_place_in_the_composition_is_refused(task_id: str) -> None:
    message = TaskMessage(
        id=task_id, task="a", args={}, links=Links(composition="c", then=(LinkNode(task="b"),))
    )

    with pytest.raises(DecodeError, match="has no place in composition c"):
        decode(message.encode())


def test_a_chain_and_its_nesting_are_limited() -> None:
    longest = [{"t": "a"}] * LONGEST
    assert len(decode_chain(longest, b"")) == LONGEST
    with pytest.raises(DecodeError, match="at most 1000 nodes"):
        decode_chain([*longest, {"t": "a"}], b"")

    node: dict[str, Any] = {"t": "a"}
    for _ in range(NESTING - 1):
        node = {"g": [node]}
    assert decode_chain([node], b"")
    with pytest.raises(DecodeError, match="nested deeper than 16"):
        decode_chain([{"g": [node]}], b"")


def test_a_chain_is_written_as_it_is_read() -> None:
    written = encode_chain(decode_chain(encode_chain([_LINK, _GROUP]), b""))

    assert written == [_LINK.encode(), _GROUP.encode()]
    assert decode_links(_LINKS.encode(), b"", "c-1.0") == _LINKS
