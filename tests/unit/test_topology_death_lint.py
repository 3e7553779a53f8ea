"""Circles of dead letters, ways into the delays, and ways that end nowhere."""

import pytest

from stem_amqp.topology.lint import lint
from stem_amqp.topology.load import parse_topology
from stem_amqp.topology.patterns import narrower, overlap


def warnings(text):
    """Lint a topology given without its first line."""
    return lint(parse_topology(f"version: 1\n{text}"))


RETRY = """\
queues: {orders: %s}
exchanges: {retry: {type: direct}}
extra_queues: {wait: {ttl: 5s, dead_letter_exchange: "%s"%s}}
bindings:
  - {source: "{namespace}.dead", destination: retry, key: orders, to: exchange}
  - {source: retry, destination: wait, key: orders}
"""
LOOP = """\
exchanges: {%s: {type: topic}, b: {type: fanout}}
extra_queues: {one: {%s}, two: {%s}}
bindings: [{source: %s, destination: one, key: "x.#"}, {source: b, destination: two}]
"""


@pytest.mark.parametrize(
    ("text", "key", "problems"),
    [
        # work (TTL) to its dead letters, to a queue that waits, and back: nothing rejected it
        (RETRY % ("{ttl: 1h}", "{namespace}.tasks", ""),
         "extra_queues.wait.dead_letter_exchange",
         ["stem.orders → wait → stem.orders", "drops without a word", "again and again"]),
        # without a TTL the work queue's own rejection sends the task round, for ever
        (RETRY % ("", "{namespace}.tasks", ""),
         "extra_queues.wait.dead_letter_exchange", ["again and again"]),
        # a key of its own leads on
        (RETRY % ("", "{namespace}.tasks", ", dead_letter_key: orders"),
         "extra_queues.wait.dead_letter_exchange", ["stem.orders → wait → stem.orders"]),
        (LOOP % ("a", "ttl: 5s, dead_letter_exchange: b", "ttl: 5s, dead_letter_exchange: a", "a"),
         "extra_queues.one.dead_letter_exchange", ["one → two → one", "expired"]),
        (LOOP % ("a", "max_length: 5, overflow: drop-oldest, dead_letter_exchange: b",
                 "delivery_limit: 5, dead_letter_exchange: a, dead_letter_key: x", "a"),
         "extra_queues.one.dead_letter_exchange", ["too many or returned too often"]),
        # policies make the circle
        ("""exchanges: {b: {type: fanout}}
extra_queues: {one: }
bindings: [{source: b, destination: one}]
policies: {p: {pattern: ^one$, definition: {message-ttl: 5s, dead-letter-exchange: b}}}
""", "policies.p.definition", ["one → one"]),
        ("""exchanges: {b: {type: fanout}}
extra_queues: {one: {dead_letter_exchange: b}}
bindings: [{source: b, destination: one}]
operator_policies: {p: {pattern: ^one$, definition: {message-ttl: 5s}}}
""", "extra_queues.one.dead_letter_exchange", ["one → one"]),
        (('queues: {orders: }\nbindings: [{source: "{namespace}.dead", destination:'
         ' "{namespace}.delay.3", key: orders, to: exchange}]'),
         "bindings[0]", ["dead letters of stem.orders go into stem.delay.3"]),
        # at-least-once holds what finds no queue
        ("exchanges: {b: {type: topic}}\nextra_queues: {one: {ttl: 1h, dead_letter_exchange: b}}",
         "extra_queues.one.dead_letter_exchange", ["find no queue", "holds them for ever"]),
        (('extra_queues: {one: {ttl: 1h, dead_letter_exchange: "{namespace}.tasks",'
         " dead_letter_key: odrers}}\nqueues: {orders: }"),
         "extra_queues.one.dead_letter_exchange", ["fits the key 'odrers'"]),
    ],
)  # fmt: skip
def test_a_way_that_ends_badly_is_told(text, key, problems):
    """One caution with the way, what will happen and what to change."""
    [found] = [one for one in warnings(text) if not one.key.endswith("overflow")]
    assert found.key == key
    for problem in problems:
        assert problem in found.problem
    assert found.remedy


@pytest.mark.parametrize(
    "text",
    [
        # dead letters are copied and stay where they are
        ('queues: {orders: {ttl: 1h}}\nextra_queues: {copy: }\nbindings: [{source: "{namespace}.dead",'
        " destination: copy, key: orders}]"),
        # the broker gives nothing up in the second one: only a consumer's rejection comes back
        LOOP % ("a", "ttl: 5s, dead_letter_exchange: b", "dead_letter_exchange: a", "a"),
        # the keys do not fit
        LOOP % ("a", "ttl: 5s, dead_letter_exchange: b",
                "ttl: 5s, dead_letter_exchange: '{namespace}.unroutable'", "a"),
        # someone else binds there
        "exchanges: {b: {external: true}}\nextra_queues: {one: {ttl: 1h, dead_letter_exchange: b}}",
        # an alternate exchange takes what fits nothing
        ("exchanges: {b: {type: topic, arguments: {alternate-exchange: '{namespace}.unroutable'}}}\n"
        "extra_queues: {one: {ttl: 1h, dead_letter_exchange: b}}"),
        ("queues: {orders: }\nextra_queues: {late: {ttl: 1h, dead_letter_exchange:"
        " '{namespace}.tasks', dead_letter_key: orders}}"),
        "queues: {orders: {ttl: 1h}}\nsettings: policies",
    ],
)  # fmt: skip
def test_a_way_that_ends_well_is_not_told(text):
    """A warning that is always there is not read."""
    assert warnings(text) == []


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("orders", "orders", True),
        ("orders", "emails", False),
        ("orders.*", "orders.#", True),
        ("#", "", True),
        ("*", "", False),
        ("*.eu", "orders.*", True),
        ("*.eu", "orders.*.eu", False),
        ("#.eu", "orders.#", True),
        ("#.a.#", "b.*.c", True),
        ("#.a.#", "b.c", False),
    ],
)
def test_patterns_overlap_where_a_key_fits_both(one, other, both):
    """Both ways round."""
    assert overlap(one, other) is overlap(other, one) is both


def test_of_two_patterns_the_narrower_one_says_more():
    """What is known of a key after a binding."""
    assert narrower("#", "orders.*") == narrower("orders.*", "#") == "orders.*"
    assert narrower("orders.*", "orders.eu") == "orders.eu"
