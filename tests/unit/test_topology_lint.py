"""Warnings of lint, and texts that have none."""

import pytest

from stem_amqp.topology.file.load import load_topology, parse_topology
from stem_amqp.topology.lint.run import lint
from stem_amqp.topology.model import Topology


def warnings(text):
    """Return the warnings of a topology given without its first line."""
    return lint(parse_topology("version: 1\n" + text))


TAP = "exchanges: {audit: {type: topic}, all: {type: fanout}}\nqueues: {orders: , emails: }\nbindings: [%s]"


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("queues: {a: {max_length: 5}}", "queues.a.max_length", "wait for room in a holding queue"),
        ("queues: {a: {max_length_bytes: 5}}", "queues.a.max_length_bytes", "wait for room in a holding queue"),
        ("queues: {a: {overflow: drop-oldest, max_length: 5}}", "queues.a.overflow", "lost on its way"),
        ("queues: {a: {ttl: 30s}}", "queues.a.ttl", "30 s, also when a deploy"),
        ("queues: {a: {delivery_limit: 3}}", "queues.a.delivery_limit", "3 deploys"),
        ("queues: {a: {dead_letter: {ttl: 1d}}}", "queues.a.dead_letter.ttl", "weekend"),
        (
            "queues: {a: {dead_letter: {overflow: drop-oldest}}}",
            "queues.a.dead_letter.overflow",
            "silently",
        ),
        ("queues: {a: {type: classic}}", "queues.a.type", "at-most-once"),
        ("queues: {a: {priority: 5}}", "queues.a.priority", "no effect on a quorum queue"),
        ("queues: {a: {prefetch: 2, concurrency: 5}}", "queues.a.prefetch", "of the 5 tasks"),
        ("queues: {a: {single_active_consumer: true}}", "queues.a.single_active_consumer", "order"),
        ("queues: {a.b: {ttl: 1s}}", 'queues."a.b".ttl', "1 s"),
        ("routes: [{match: x, queue: a}]", "routes[0].queue", "queue a is not under queues"),
        ("queues: {orders: }\nroutes: [{match: x, queue: order}]", "routes[0].queue", "mean orders?"),
        ("queues: {a: }\nroutes: [{match: 'x.*', queue: a}, {match: x.y, queue: a}]",
         "routes[1].match", "never reached: x.* precedes it"),
        ("queues: {a: }\nroutes: [{match: x, queue: a}, {match: x, queue: a}]",
         "routes[1].match", "never reached"),
        ("queues: {a: }\nroutes: [{match: '*', queue: a}, {match: 'x?.[ab]*', queue: a}]",
         "routes[1].match", "never reached: * precedes it"),
        ("queues: {a: }\nroutes: [{match: 'shop/*', queue: a}]", "routes[0].match", "can match this"),
        ("queues: {a: }\nroutes: [{match: '*..sync', queue: a}]", "routes[0].match", "can match this"),
        ("queues: {a: }\nroutes: [{match: 'orders.', queue: a}]", "routes[0].match", "can match this"),
        (TAP % "{source: '{namespace}.tasks', destination: audit, key: '#', to: exchange}",
         "bindings[0]", "no UnroutableError"),
        (TAP % "{source: '{namespace}.tasks', destination: emails, key: orders}",
         "bindings[0]", "twice"),
        (TAP % "{source: all, destination: emails, key: orders}", "bindings[0].key", "fanout"),
        (TAP % "{source: audit, destination: emails, key: 'order*.x'}", "bindings[0].key", "word"),
        (TAP % "{source: '{namespace}.tasks', destination: emails, key: '#'}",
         "bindings[0]", "tasks of orders also run in emails: they run twice"),
        (TAP % "{source: '{namespace}.dead', destination: audit, key: odrers, to: exchange}",
         "bindings[0].key", "it matches no dead letter"),
        (TAP % "{source: '{namespace}.dead', destination: audit, key: '#', to: exchange}",
         "bindings[0].key", "a direct exchange compares keys exactly"),
        (TAP % "{source: '{namespace}.control', destination: audit, key: x, to: exchange}",
         "bindings[0].key", "fanout"),
        ("extra_queues: {t: {type: classic, dead_letter_exchange: '{namespace}.unroutable'}}",
         "extra_queues.t.type", "lost on the way"),
        ("extra_queues: {t: {max_length: 5, dead_letter_exchange: '{namespace}.unroutable'}}",
         "extra_queues.t.overflow", "at-least-once only with overflow: refuse"),
        (("extra_queues: {t: {max_length: 5, overflow: refuse}}\nqueues: {a: }\n"
         "bindings: [{source: '{namespace}.tasks', destination: t, key: a}]"),
         "extra_queues.t.overflow", "refuses every message that it would get a copy of"),
    ],
)  # fmt: skip
def test_what_will_be_regretted_is_warned_of(text, key, problem):
    """One warning at the key has the problem and a remedy."""
    [found] = warnings(text)
    assert found.key == key
    assert problem in found.problem
    assert found.remedy
    assert str(found) == f"{found.key}: {found.problem}\n  {found.remedy}"


@pytest.mark.parametrize(
    "text",
    [
        "queues: {a: {ttl: 60s, delivery_limit: 20, dead_letter: {ttl: 14d, max_length: 5}}}",
        "queues: {a: {prefetch: 20, concurrency: 20}, b: {prefetch: 5}, c: {concurrency: 5}}",
        "queues: {a: {single_active_consumer: true, prefetch: 1, concurrency: 1}}",
        "queues: {a: , b: }\nroutes: [{match: x.y, queue: a}, {match: 'x.*', queue: b}]",
        TAP % "{source: '{namespace}.tasks', destination: audit, key: orders, to: exchange}",
        TAP % "{source: '{namespace}.events', destination: audit, key: '#', to: exchange}",
        TAP % "{source: audit, destination: emails, key: 'order.*.#'}",
        TAP % "{source: '{namespace}.dead', destination: audit, key: orders, to: exchange}",
        "queues: {a: , b: }\nroutes: [{match: 'x?', queue: a}, {match: 'x*', queue: b}]",
        "queues: {a: , b: }\nroutes: [{match: '[ab]*', queue: a}, {match: '[bc]*', queue: b}]",
        "queues: {a: }\nroutes: [{match: 'X_1.[!a-c]-?.*', queue: a}]",
        "extra_queues: {t: {max_length: 5}, u: {dead_letter_exchange: '{namespace}.unroutable'}}",
        "extra_queues: {t: {max_length: 5, overflow: refuse}}",
    ],
)
def test_what_is_good_is_not_warned_of(text):
    """Warnings that always appear are not read."""
    assert warnings(text) == []


def test_priorities_of_a_classic_queue_are_warned_of_when_they_cannot_work():
    """They do not affect prefetched tasks, and many levels are expensive."""
    found = warnings("queues: {a: {type: classic, priority: 100, prefetch: 10}}")
    assert [warning.key for warning in found] == ["queues.a.type", *["queues.a.priority"] * 2]
    fine = warnings("queues: {a: {type: classic, priority: 10, prefetch: 1}}")
    assert [warning.key for warning in fine] == ["queues.a.type"]


def test_what_is_inherited_is_reported_once_and_where_it_stands():
    """The line to change is the one under defaults."""
    found = warnings("defaults: {ttl: 1s}\nqueues: {a: , b: {ttl: 2s}, c: {ttl: null}}")
    assert [warning.key for warning in found] == ["defaults.ttl", "queues.b.ttl"]


def test_the_defaults_and_the_example_are_clean():
    """The defaults follow the advice of lint."""
    assert lint(Topology.default()) == []
    assert lint(load_topology("topology/default.yaml")) == []
