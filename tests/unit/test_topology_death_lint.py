"""Cycles of dead letters, routes into the delays, and routes that end in no queue."""

import pytest

from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.lint.patterns import narrower, overlap
from stem_amqp.topology.lint.run import lint


def warnings(text):
    """Return the warnings of a topology given without its first line."""
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
        # from work (TTL) to its dead letters, to a queue with a TTL, and back: no rejection
        (RETRY % ("{ttl: 1h}", "{namespace}.tasks", ""),
         "extra_queues.wait.dead_letter_exchange",
         ["stem.orders → wait → stem.orders", "silently drops", "again and again"]),
        # without a TTL, the work queue's own rejection repeats the task for ever
        (RETRY % ("", "{namespace}.tasks", ""),
         "extra_queues.wait.dead_letter_exchange", ["again and again"]),
        # its own dead-letter key routes the message on
        (RETRY % ("", "{namespace}.tasks", ", dead_letter_key: orders"),
         "extra_queues.wait.dead_letter_exchange", ["stem.orders → wait → stem.orders"]),
        (LOOP % ("a", "ttl: 5s, dead_letter_exchange: b", "ttl: 5s, dead_letter_exchange: a", "a"),
         "extra_queues.one.dead_letter_exchange", ["one → two → one", "expired"]),
        (LOOP % ("a", "max_length: 5, overflow: drop-oldest, dead_letter_exchange: b",
                 "delivery_limit: 5, dead_letter_exchange: a, dead_letter_key: x", "a"),
         "extra_queues.one.dead_letter_exchange", ["too many or returned too often"]),
        # policies make the cycle
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
         ' "{namespace}.zz-delay.3", key: orders, to: exchange}]'),
         "bindings[0]", ["dead letters of stem.orders go to stem.zz-delay.3"]),
        # at-least-once holds messages without a queue
        ("exchanges: {b: {type: topic}}\nextra_queues: {one: {ttl: 1h, dead_letter_exchange: b}}",
         "extra_queues.one.dead_letter_exchange", ["reach no queue", "holds them for ever"]),
        (('extra_queues: {one: {ttl: 1h, dead_letter_exchange: "{namespace}.tasks",'
         " dead_letter_key: odrers}}\nqueues: {orders: }"),
         "extra_queues.one.dead_letter_exchange", ["matches the key 'odrers'"]),
    ],
)  # fmt: skip
def test_a_path_that_loses_messages_is_reported(text, key, problems):
    """One warning has the path, the effect and the remedy."""
    [found] = [one for one in warnings(text) if not one.key.endswith("overflow")]
    assert found.key == key
    for problem in problems:
        assert problem in found.problem
    assert found.remedy


@pytest.mark.parametrize(
    "text",
    [
        # dead letters are copied and stay in their queue
        ('queues: {orders: {ttl: 1h}}\nextra_queues: {copy: }\nbindings: [{source: "{namespace}.dead",'
        " destination: copy, key: orders}]"),
        # the broker expires nothing in the second one: only a consumer's rejection returns
        LOOP % ("a", "ttl: 5s, dead_letter_exchange: b", "dead_letter_exchange: a", "a"),
        # the keys do not match
        LOOP % ("a", "ttl: 5s, dead_letter_exchange: b",
                "ttl: 5s, dead_letter_exchange: '{namespace}.unroutable'", "a"),
        # another program binds there
        "exchanges: {b: {external: true}}\nextra_queues: {one: {ttl: 1h, dead_letter_exchange: b}}",
        # an alternate exchange takes unmatched messages
        ("exchanges: {b: {type: topic, arguments: {alternate-exchange: '{namespace}.unroutable'}}}\n"
        "extra_queues: {one: {ttl: 1h, dead_letter_exchange: b}}"),
        ("queues: {orders: }\nextra_queues: {late: {ttl: 1h, dead_letter_exchange:"
        " '{namespace}.tasks', dead_letter_key: orders}}"),
        "queues: {orders: {ttl: 1h}}\nsettings: policies",
    ],
)  # fmt: skip
def test_a_path_that_ends_well_is_not_reported(text):
    """Warnings that always appear are not read."""
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
    """The result is the same in both orders."""
    assert overlap(one, other) is overlap(other, one) is both


def test_of_two_patterns_the_narrower_one_says_more():
    """The narrower pattern is what is known of a key after a binding."""
    assert narrower("#", "orders.*") == narrower("orders.*", "#") == "orders.*"
    assert narrower("orders.*", "orders.eu") == "orders.eu"
