"""What begins a node of a composition: which groups are created, and which calls are published."""

from __future__ import annotations

import pytest

from stem_amqp import ConfigurationError, Stem
from stem_amqp.errors import DecodeError
from stem_amqp.messages.links import GroupNode, LinkNode, Source
from stem_amqp.messages.message import NOT_BEFORE, REPEATED, REPLAYS, SINCE
from stem_amqp.producer.linking.calls import Calls, Value
from stem_amqp.producer.linking.place import Place, path_of
from stem_amqp.producer.linking.plan import Plan, read_plan
from stem_amqp.producer.linking.start import start_of
from stem_amqp.tasks.call import Lineage

_AT = "2026-01-01T00:00:00.000Z"
_PLACE = Place(composition="c", enqueued_at=_AT)
_AFTER = Place(
    composition="c",
    path="2",
    enqueued_at=_AT,
    lineage=Lineage(root="r", parent="c.1", meta={"tenant": "x"}),
    reply_to="reply",
    replay=1,
    follows=True,
)


def _calls(stem: Stem | None = None) -> Calls:
    registry = (stem or Stem(broker_url="memory://linking")).blueprint.registry
    return Calls(registry, 1_767_225_600.0)


def _link(task: str, piped: str | None = None, **fields: object) -> LinkNode:
    return LinkNode(task=task, queue="q", piped=piped, **fields)  # type: ignore[arg-type] # in tests


def test_the_first_link_carries_the_rest_of_its_chain() -> None:
    first, second = _link("a"), _link("b", "x")

    start = start_of((first, second), _PLACE, None, _calls())

    [call] = start.calls
    assert call.options.task_id == "c.0"
    assert call.links is not None
    assert call.links.then == (second,)
    assert call.links.token is None
    assert call.options.headers == {}
    assert call.origin is None
    assert not start.groups


def test_a_link_that_follows_takes_the_result_and_is_marked_as_maybe_published_twice() -> None:
    node = _link("b", "x", args={"y": 1}, options={"max_retries": 5, "headers": {"own": "1"}})

    [call] = start_of((node,), _AFTER, Value(7), _calls()).calls

    assert call.args == {"y": 1, "x": 7}
    assert call.options.max_retries == 5
    assert call.options.headers.keys() == {"own", REPEATED, SINCE, REPLAYS}
    assert call.origin is not None
    assert (call.origin.enqueued_at, call.origin.reply_to, call.origin.replay) == (_AT, "reply", 1)


def test_the_age_of_a_delayed_link_counts_from_its_delay() -> None:
    [call] = start_of((_link("b", options={"delay": 5}),), _AFTER, Value(7), _calls()).calls

    assert call.args == {}
    assert call.options.delay == 5
    assert SINCE not in call.options.headers
    assert NOT_BEFORE not in call.options.headers


def test_a_group_is_created_with_a_plan_and_its_members_are_published() -> None:
    inner = GroupNode(members=(_link("d"),), ttl=5.0)
    node = GroupNode(members=(_link("a"), (_link("b"), _link("c")), inner), policy="collect")
    callback = _link("done", "results")

    start = start_of((node, callback), _PLACE, None, _calls())

    assert [(group.id, group.size, group.ttl) for group in start.groups] == [
        ("c.0", 3, 86400.0),
        ("c.0.2", 1, 5.0),
    ]
    assert start.groups[0].plan.then == (callback,)
    assert (start.groups[1].plan.place.group, start.groups[1].plan.place.index) == ("c.0", 2)
    ids = [
        (call.options.task_id, call.group, call.links and call.links.index) for call in start.calls
    ]
    assert ids == [("c.0.0", "c.0", 0), ("c.0.1.0", "c.0", 1), ("c.0.2.0", "c.0.2", 0)]


def test_an_empty_group_is_not_created_and_its_continuation_takes_an_empty_list() -> None:
    start = start_of((GroupNode(members=()), _link("done", "results")), _PLACE, None, _calls())

    [call] = start.calls
    assert not start.groups
    assert call.options.task_id == "c.1"
    assert call.args == {"results": []}


def test_an_empty_group_that_is_a_member_has_ended() -> None:
    start = start_of((GroupNode(members=(GroupNode(members=()),)),), _PLACE, None, _calls())

    assert [(place.id, place.group, place.index) for place in start.empty] == [("c.0.0", "c.0", 0)]
    assert not start.calls


def test_only_the_continuation_itself_claims_its_group() -> None:
    source = Source(group="c.1", results="stream", policy="ignore")

    [single] = start_of((_link("done", "results"),), _AFTER, source, _calls()).calls
    [immutable] = start_of((_link("done"),), _AFTER, source, _calls()).calls
    members = start_of(
        (GroupNode(members=(_link("a", "x"), _link("b"))),), _AFTER, source, _calls()
    ).calls

    assert single.links is not None
    assert single.links.source == Source(
        group="c.1", results="stream", policy="ignore", parameter="results"
    )
    assert single.links.token
    assert immutable.links is not None
    assert immutable.links.token
    assert immutable.links.source is not None
    assert immutable.links.source.parameter is None
    assert [call.links and call.links.token for call in members] == [None, None]
    assert [call.links and bool(call.links.source) for call in members] == [True, False]


def test_each_link_of_a_unique_task_runs() -> None:
    stem = Stem(broker_url="memory://linking")
    stem.task("once", queue="q", unique="1h")(lambda: None)

    [call] = start_of((_link("once"),), _PLACE, None, _calls(stem)).calls

    assert call.definition is not None
    assert call.rule is None


def test_an_invalid_option_of_a_link_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_retries"):
        start_of((_link("a", options={"max_retries": -1}),), _PLACE, None, _calls())


def test_paths_lead_to_the_next_node_and_into_members() -> None:
    place = _PLACE.next().member(4, chain=True)

    assert place.id == "c.1.4.0"
    assert (place.group, place.index) == ("c.1", 4)
    assert place.next().path == "1.4.1"
    assert _PLACE.member(4, chain=False).id == "c.0.4"
    assert (place.beside("ok0").id, place.beside("ok0").group) == ("c.1.4.0.ok0", None)
    assert path_of("c.1.4.0", "c") == "1.4.0"
    assert path_of("d.1", "c") == ""


def test_a_plan_is_read_as_it_was_written() -> None:
    place = _AFTER.member(3, chain=False)
    plan = Plan.of(GroupNode(members=(), policy="ignore"), place, (_link("done"),))

    assert read_plan(plan.encode(), place.id) == plan


def test_a_plan_of_another_group_or_without_its_fields_is_refused() -> None:
    plan = Plan.of(GroupNode(members=()), _AFTER, ())

    with pytest.raises(DecodeError, match="of another group"):
        read_plan(plan.encode(), "c.9")
    for text in (b"", b"[]", b"{}", b'{"f": "fail_fast", "r": "list"}'):
        with pytest.raises(DecodeError, match="plan of"):
            read_plan(text, "c.2")
