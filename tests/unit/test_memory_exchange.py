"""Routing in the in-memory broker."""

import pytest

from stem_amqp.topology.entities import Binding, Exchange
from stem_amqp.topology.routing import headers_match, topic_matches
from stem_amqp.transport.memory.exchange import Router
from stem_amqp.transport.memory.queue import MemoryQueue


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("*", "", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("*.#", "a", True),
        ("#.*", "", False),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.b.c", False),
        ("#.b.#", "a.b.c", True),
        ("#.#", "", True),
        ("a.*.#.b", "a.b", False),
        ("a.*.#.b", "a.x.b", True),
        ("*.*", "a.", True),
        ("orders", "orders.eu", False),
        ("o*", "orders", False),
    ],
)
def test_topic_patterns_match_whole_words(pattern, key, expected):
    """A star is one word, a hash is any number of words; neither is part of a word."""
    assert topic_matches(pattern, key) is expected


@pytest.mark.parametrize(
    ("arguments", "headers", "expected"),
    [
        ({"x-match": "all", "a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ({"x-match": "any", "a": 1, "b": 2}, {"b": 2}, True),
        ({"x-match": "any", "a": 1}, {"a": 2}, False),
        ({"x-match": "any"}, {"a": 1}, False),
        ({"x-match": "all", "a": None}, {"a": "anything"}, True),
        ({"x-match": "all", "a": None}, {}, False),
        ({"x-match": "all", "x-a": 1}, {}, True),
        ({"x-match": "all-with-x", "x-a": 1}, {}, False),
        ({"x-match": "any-with-x", "x-a": 1}, {"x-a": 1}, True),
    ],
)
def test_headers_match_all_or_any(arguments, headers, expected):
    """Headers that start with x- are compared only in the modes that say so."""
    assert headers_match(arguments, headers) is expected


@pytest.fixture
def router():
    """Return a router with one exchange and one queue."""
    router = Router()
    router.add_exchange(Exchange(name="tasks", type="topic"))
    router.add_queue(MemoryQueue("work", {}))
    return router


def names(queues):
    """Return the queues' names."""
    return [queue.name for queue in queues]


def test_a_remembered_route_is_forgotten_when_something_changes(router):
    """Binding, declaring and deleting take effect at once."""
    assert names(router.route("tasks", "k", {})) == []
    router.bind(Binding(source="tasks", destination="work", key="k"))
    assert names(router.route("tasks", "k", {})) == ["work"]
    router.remove_queue("work")
    assert names(router.route("tasks", "k", {})) == []
    router.add_queue(MemoryQueue("work", {}))
    assert names(router.route("tasks", "k", {})) == []
    router.bind(Binding(source="tasks", destination="work", key="#"))
    router.remove_exchange("tasks")
    assert names(router.route("tasks", "k", {})) == []


def test_binding_twice_is_binding_once(router):
    """A repeated binding adds nothing."""
    for _ in range(2):
        router.bind(Binding(source="tasks", destination="work", key="k"))
    assert len(router.exchanges["tasks"].bindings) == 1


def test_routes_that_depend_on_headers_are_not_remembered(router):
    """A headers exchange may route the same key differently."""
    router.add_exchange(Exchange(name="by-kind", type="headers"))
    router.bind(Binding(source="by-kind", destination="work", arguments={"kind": "pdf"}))
    router.bind(Binding(source="tasks", destination="by-kind", key="#", to_exchange=True))
    assert names(router.route("tasks", "k", {"kind": "pdf"})) == ["work"]
    assert names(router.route("tasks", "k", {"kind": "png"})) == []


def test_many_different_keys_do_not_pile_up(router):
    """The number of remembered routes is limited, and routing works beyond it."""
    router.bind(Binding(source="tasks", destination="work", key="#"))
    for number in range(20_050):
        assert len(router.route("tasks", f"k.{number}", {})) == 1
    assert len(router._routes) <= 10_000


def test_the_exchanges_that_every_broker_has_exist(router):
    """amq.topic and the other predefined exchanges can be bound without a declaration."""
    router.bind(Binding(source="amq.topic", destination="work", key="k"))
    assert names(router.route("amq.topic", "k", {})) == ["work"]


def test_an_alternate_exchange_may_have_one_too(router):
    """An unroutable message goes along the alternates until a queue takes it; a cycle ends."""
    for name, alternate in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "gone")):
        router.add_exchange(
            Exchange(name=name, type="direct", arguments={"alternate-exchange": alternate})
        )
    assert names(router.route("a", "k", {})) == []
    assert names(router.route("d", "k", {})) == []
    router.bind(Binding(source="c", destination="work", key="k"))
    assert names(router.route("a", "k", {})) == ["work"]
