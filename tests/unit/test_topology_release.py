"""Parts of a topology that a release of RabbitMQ refuses or ignores."""

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.provision.release import Abilities, fitness
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.lint.planned import Planned
from stem_amqp.transport.features import release

TYPED = "policies: {p: {pattern: x, apply_to: quorum_queues, definition: {message-ttl: 1d}}}"
TIMEOUT = "policies: {p: {pattern: '^t$', definition: {consumer-timeout: 1h}}}\nextra_queues: {t: {type: classic}}"
OVERFLOW = "operator_policies: {p: {pattern: x, definition: {overflow: reject-publish}}}"
HASHES = "bindings: [{source: amq.topic, destination: a, key: '#.x.#.y.#'}]\nexchanges: {amq.topic: {external: true}}\nqueues: {a: }"
NATIVE = "queues: {a: {native_retry: {min: 1s}}}"
LOCAL = "exchanges: {e: {type: x-local-random}}"


def found(text, version, **known):
    """Return the keys that a release refuses, and those that it ignores."""
    planned = Planned.of(parse_topology(f"version: 1\n{text}"))
    result = fitness(planned, Abilities(broker=release(version), **known))
    return [one.key for one in result.refused], [one.key for one in result.ignored]


@pytest.mark.parametrize(
    ("text", "version", "refused", "ignored"),
    [
        (TYPED, "3.11", ["policies.p.apply_to"], []),
        (TYPED, "3.12", [], []),
        (TIMEOUT, "3.10", ["policies.p.definition.consumer-timeout"], []),
        (TIMEOUT, "4.2", [], []),
        (TIMEOUT, "4.3", [], ["policies.p.definition.consumer-timeout"]),
        (OVERFLOW, "3.12", ["operator_policies.p.definition.overflow"], []),
        (OVERFLOW, "3.13", [], []),
        (HASHES, "4.3.4", [], []),
        (HASHES, "4.3.5", ["bindings[0].key"], []),
        (NATIVE, "4.3.0", ["queues.a.native_retry"], []),
        (NATIVE, "4.3", [], []),
        (LOCAL, "3.13", [], ["exchanges.e.type"]),
        (LOCAL, "4.0", [], []),
        ("queues: {a: }", "3.9", ["version"], []),
    ],
)
def test_a_release_refuses_or_ignores(text, version, refused, ignored):
    """Each finding is at its key."""
    assert found(text, version) == (refused, ignored)


def test_the_brokers_own_properties_count():
    """The management API gives the types of exchanges and the feature flags."""
    kinds = frozenset({"topic", "direct"})
    assert found(LOCAL, "4.0", exchange_types=kinds) == (["exchanges.e.type"], [])
    off = frozenset({"stream_queue"})
    assert found("queues: {a: }", "3.10", disabled_flags=off) == ([], ["queues"])


def test_a_release_that_is_none_is_refused():
    """The error shows the form of a release."""
    with pytest.raises(ConfigurationError, match=r"Write for example 3\.10"):
        release("newest")
