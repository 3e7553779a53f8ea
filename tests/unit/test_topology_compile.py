"""Compilation of a topology to entities. Run this file to write the golden topology again."""

import json
import random
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.delay import MAX_UNITS, exact_units, route, two_digit_units
from stem_amqp.errors import TopologyError
from stem_amqp.settings import NAME
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.directives import DELIVERY_LIMIT
from stem_amqp.topology.extra_queues import UNLIMITED
from stem_amqp.topology.file.load import load_topology, parse_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import REJECTED_KEY, Names, collides
from stem_amqp.topology.routing import topic_matches

GOLDEN = Path(__file__).with_name("golden_topology.json")
ROOT = Path(__file__).parents[2]
NAMES = Names("stem")
DELAY_QUEUES = NAMES.delay_queues()


def compiled(text="", queues=(), names=NAMES):
    """Return a compiled topology given without its first line."""
    return compile_topology(parse_topology("version: 1\n" + text), names, queues)


def arguments(entities, name):
    """Return the arguments of a queue."""
    return next(dict(queue.arguments) for queue in entities.queues if queue.name == name)


def golden_text():
    """Return the default topology with one entity on a line."""
    entities = asdict(compile_topology(load_topology(ROOT / "topology/default.yaml"), NAMES))
    sections = []
    for kind, found in entities.items():
        lines = ",\n".join("    " + json.dumps(entity, sort_keys=True) for entity in found)
        sections.append(f'  "{kind}": [\n{lines}\n  ]')
    return "{\n" + ",\n".join(sections) + "\n}\n"


def test_the_default_topology_never_changes_silently():
    """The entities on users' brokers are fixed here: a change needs a migration or a new name."""
    assert json.loads(golden_text()) == json.loads(GOLDEN.read_text()), (
        "the compiled topology has changed; if that is meant, run: python " + __file__
    )


def test_the_example_file_equals_what_happens_without_a_file():
    """topology/default.yaml has the built-in defaults."""
    example = load_topology(ROOT / "topology/default.yaml")
    assert compile_topology(example, NAMES) == compile_topology(
        Topology.default(), NAMES, ["default"]
    )
    assert example.defaults == Topology.default().defaults
    assert example.declared == ("default",)
    assert (example.namespace, example.routes) == (None, ())


def test_the_same_input_compiles_to_the_same():
    """The order of the names and the hash seed of the process have no effect."""
    names = ["orders", "emails", "a.b", "z", "billing.eu"]
    first = compiled(queues=names)
    for seed in range(5):
        assert compiled(queues=random.Random(seed).sample(names, len(names))) == first
    script = (
        "from stem_amqp.topology.compile import compile_topology as c;"
        "from stem_amqp.topology.model import Topology as T;"
        "from stem_amqp.topology.names import Names as N;"
        f"print(c(T.default(), N('stem'), set({names!r})))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=90
    )
    assert run.stdout.strip() == str(compile_topology(Topology.default(), NAMES, names))


def test_every_name_is_in_the_namespace_and_unique():
    """Two environments on one virtual host have no name in common."""
    entities = compiled(queues=["orders", "a.b"], names=Names("shop.staging"))
    for kind in (entities.exchanges, entities.queues):
        found = [entity.name for entity in kind]
        assert len(set(found)) == len(found)
        assert all(name.startswith("shop.staging.") for name in found)


def test_whatever_is_bound_or_referred_to_is_declared():
    """No entity refers to an exchange or queue that does not exist."""
    entities = compiled(queues=["orders"])
    exchanges = {exchange.name for exchange in entities.exchanges}
    queues = {queue.name for queue in entities.queues}
    for binding in entities.bindings:
        assert binding.source in exchanges
        assert binding.destination in (exchanges if binding.to_exchange else queues)
    for key in ("alternate-exchange", "x-dead-letter-exchange"):
        referring = [
            e.arguments[key] for e in (*entities.exchanges, *entities.queues) if key in e.arguments
        ]
        assert referring
        assert set(referring) <= exchanges


@given(st.from_regex(NAME, fullmatch=True).filter(lambda name: not collides(name) and name < "zz"))
def test_a_list_of_queues_has_the_delay_queues_last(queue):
    """RabbitMQ sorts by the bytes of the names in its UI and API; AMQP allows none after z."""
    first = min(name.encode() for name in DELAY_QUEUES)
    others = (NAMES.work(queue, 2), NAMES.dlq(queue, 2), NAMES.unroutable, NAMES.reply(queue))
    assert all(name.encode() < first for name in others)
    assert sorted(DELAY_QUEUES, key=str.encode) == list(DELAY_QUEUES)


def test_a_work_queue_gets_tasks_only_after_everything_behind_it_is_bound():
    """A task that arrives while another process still declares is not lost."""
    sources = [binding.source for binding in compiled(queues=["a", "b"]).bindings]
    assert sources[-2:] == [NAMES.tasks, NAMES.tasks]
    assert sources.count(NAMES.tasks) == 2
    assert sources[0] == NAMES.unroutable


def test_the_tasks_exchange_has_no_alternate():
    """A task for an unknown queue is returned to its producer as an error."""
    tasks = compiled().exchanges[0]
    assert (tasks.name, dict(tasks.arguments)) == ("stem.tasks", {})


def test_what_cannot_be_delivered_is_parked():
    """Delays and dead letters for a missing queue must not block the others."""
    alternates = {
        exchange.name: exchange.arguments.get("alternate-exchange")
        for exchange in compiled().exchanges
        if exchange.arguments
    }
    assert alternates == {"stem.dead": "stem.unroutable", "stem.deliver": "stem.unroutable"}


def test_rule_5_a_work_queue_dead_letters_only_to_its_own_dead_letter_queue():
    """RabbitMQ drops or blocks messages that cycle through a TTL without a rejection."""
    entities = compiled("queues: {c: {type: classic}}", ["orders", "a.b"])
    for logical in ("orders", "a.b", "c"):
        own = arguments(entities, NAMES.work(logical))
        assert own["x-dead-letter-exchange"] == NAMES.dead
        targets = [
            binding.destination
            for binding in entities.bindings
            if binding.source == NAMES.dead and binding.key == own["x-dead-letter-routing-key"]
        ]
        assert targets == [NAMES.dlq(logical)]
        assert "x-dead-letter-exchange" not in arguments(entities, NAMES.dlq(logical))


def test_every_quorum_queue_has_an_explicit_positive_delivery_limit():
    """RabbitMQ 3.10 drops messages at -1, and RabbitMQ 4 uses 20 if there is no limit."""
    entities = compiled("queues: {low: {delivery_limit: 7}}", ["orders"])
    for queue in entities.queues:
        assert queue.arguments["x-queue-type"] == "quorum"
        assert queue.arguments["x-delivery-limit"] in {7, 100, UNLIMITED, DELIVERY_LIMIT}
    assert arguments(entities, "stem.low")["x-delivery-limit"] == 7
    assert arguments(entities, "stem.orders")["x-delivery-limit"] == 100


def test_every_quorum_queue_that_dead_letters_does_so_at_least_once():
    """At-least-once needs reject-publish: with another overflow RabbitMQ silently falls back."""
    dead_lettering = [
        queue
        for queue in compiled("queues: {full: {max_length: 5}}").queues
        if "x-dead-letter-exchange" in queue.arguments
    ]
    assert len(dead_lettering) == 74
    for queue in dead_lettering:
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert queue.arguments["x-overflow"] == "reject-publish"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{}", {}),
        ("{ttl: 1h}", {"x-message-ttl": 3_600_000}),
        ("{ttl: 1.5ms}", {"x-message-ttl": 2}),
        ("{max_length: 5}", {"x-max-length": 5}),
        ("{single_active_consumer: true}", {"x-single-active-consumer": True}),
        ("{priority: 5}", {}),
        ("{prefetch: 5, concurrency: 5, retry: {max_retries: 1}}", {}),
    ],
)
def test_a_quorum_work_queue_has_just_the_arguments_of_its_spec(spec, expected):
    """Settings for workers only, and a priority, are no arguments of a quorum queue."""
    assert arguments(compiled(f"queues: {{orders: {spec}}}"), "stem.orders") == expected | {
        "x-queue-type": "quorum",
        "x-delivery-limit": 100,
        "x-dead-letter-exchange": "stem.dead",
        "x-dead-letter-routing-key": "orders",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def test_a_classic_work_queue_has_no_argument_that_only_quorum_queues_know():
    """RabbitMQ refuses a declaration with an argument of another type."""
    found = arguments(compiled("queues: {a: {type: classic, priority: 5, ttl: 1s}}"), "stem.a")
    assert found == {
        "x-queue-type": "classic",
        "x-dead-letter-exchange": "stem.dead",
        "x-dead-letter-routing-key": "a",
        "x-overflow": "reject-publish",
        "x-max-priority": 5,
        "x-message-ttl": 1000,
    }


def test_a_dead_letter_queue_is_limited_and_loses_nothing_unless_configured_to():
    """It refuses messages when it is full; dropping the oldest, or no limit, must be configured."""
    text = (
        "queues: {a: {dead_letter: {ttl: 14d, max_length: 5, overflow: drop-oldest}}, b: ,"
        " c: {dead_letter: {max_length: null, max_length_bytes: null}}}"
    )
    plain = {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED}
    assert arguments(compiled(text), "stem.a.dlq") == plain | {
        "x-message-ttl": 1_209_600_000,
        "x-max-length": 5,
        "x-max-length-bytes": 2**30,
        "x-overflow": "drop-head",
    }
    assert arguments(compiled(text), "stem.b.dlq") == plain | {
        "x-max-length": 100_000,
        "x-max-length-bytes": 2**30,
        "x-overflow": "reject-publish",
    }
    assert arguments(compiled(text), "stem.c.dlq") == plain


def test_a_queue_knows_its_logical_name():
    """Tools find the work and dead-letter queue of a logical queue without parsing names."""
    logical = {
        queue.name: queue.logical for queue in compiled(queues=["a.b"]).queues if queue.logical
    }
    assert logical == {"stem.a.b": "a.b", "stem.a.b.dlq": "a.b"}


def test_queues_of_the_file_and_of_the_tasks_come_together_once():
    """A queue that is in both is one queue, with the file's arguments."""
    entities = compiled("queues: {a: {ttl: 1s}}", ["a", "b"])
    assert [queue.name for queue in entities.queues][:5] == [
        "stem.unroutable", "stem.a.dlq", "stem.b.dlq", "stem.a", "stem.b",
    ]  # fmt: skip
    assert arguments(entities, "stem.a")["x-message-ttl"] == 1000


@pytest.mark.parametrize("name", ["tasks", "delay.x", "a.dlq", "a b", "", "a*", "group.x"])
def test_a_queue_that_a_task_names_must_be_a_queue_name_too(name):
    """Names come from code as well as from the file."""
    with pytest.raises(TopologyError, match="queue name"):
        compiled(queues=[name])


def test_exchanges_and_bindings_of_the_file_are_declared_with_the_namespace_in_them():
    """Only {namespace} is replaced; an external exchange is bound but not declared."""
    entities = compiled(
        "queues: {orders: }\n"
        "exchanges:\n"
        '  "{namespace}.audit": {type: headers, arguments: {alternate-exchange: "{namespace}.x", n: 1}}\n'
        "  shop.events: {external: true}\n"
        "bindings:\n"
        '  - {source: "{namespace}.tasks", destination: "{namespace}.audit", key: orders, to: exchange}\n'
        '  - {source: shop.events, destination: orders, key: "#", arguments: {x-match: any}}\n',
        names=Names("stem.test"),
    )
    [audit] = [exchange for exchange in entities.exchanges if exchange.name.endswith("audit")]
    assert (audit.name, audit.type) == ("stem.test.audit", "headers")
    assert audit.arguments == {"alternate-exchange": "stem.test.x", "n": 1}
    assert "shop.events" not in {exchange.name for exchange in entities.exchanges}
    tap, feed = [
        b for b in entities.bindings if "audit" in b.destination or b.source == "shop.events"
    ]
    assert (tap.source, tap.destination) == ("stem.test.tasks", "stem.test.audit")
    assert (tap.key, tap.to_exchange) == ("orders", True)
    assert (feed.destination, feed.key, feed.to_exchange) == ("stem.test.orders", "#", False)
    assert feed.arguments == {"x-match": "any"}


def test_an_exchange_that_is_ours_in_the_actual_namespace_is_refused():
    """The file does not know which namespace the settings choose."""
    with pytest.raises(TopologyError, match=r"shop\.tasks is reserved for stem-amqp"):
        compiled("exchanges: {shop.tasks: {type: topic}}", names=Names("shop"))


class Walk:
    """The path of a delayed message through the compiled entities, computed like RabbitMQ's."""

    def __init__(self, entities):
        self.bindings = {}
        for binding in entities.bindings:
            self.bindings.setdefault(binding.source, []).append(binding)
        self.arguments = {queue.name: queue.arguments for queue in entities.queues}

    def ends(self, exchange, key):
        """Return the final queues of a message, each with the milliseconds that it waited."""
        found = []
        for binding in self.bindings.get(exchange, ()):
            if not topic_matches(binding.key, key):
                continue
            if binding.to_exchange:
                found += self.ends(binding.destination, key)
                continue
            waits = self.arguments[binding.destination]
            if waits.get("x-dead-letter-exchange") in {NAMES.dead, None}:
                found.append((binding.destination, 0))
            else:
                behind = self.ends(waits["x-dead-letter-exchange"], key)
                found += [(queue, wait + waits["x-message-ttl"]) for queue, wait in behind]
        return found


def test_a_delayed_message_waits_as_long_as_it_should_and_ends_in_its_own_queue():
    """For any delay and queue name there is one path, with the whole wait and the correct queue."""
    queues = ["orders", "a", "b.a", "a.b", "0", "1.0", "9.9.9.9.9.9.9.9", "x-y_z"]
    walk = Walk(compiled(queues=queues))
    generator = random.Random(7)
    waits = [1, 9, 10, 11, 100, 101, 12_345_678, MAX_UNITS]
    waits += [exact_units(10 ** generator.uniform(-1, 7)) for _ in range(200)]
    waits += [two_digit_units(10 ** generator.uniform(-1, 7)) for _ in range(100)]
    for units in waits:
        queue = generator.choice(queues)
        way = route(units, queue)
        ends = walk.ends(NAMES.delay_exchange(way.level), way.routing_key)
        assert ends == [(NAMES.work(queue), units * 100)]


def test_a_task_ends_in_its_own_queue_only():
    """The tasks exchange is a topic exchange, but a queue's name matches only itself."""
    queues = ["a", "b.a", "a.b", "orders"]
    walk = Walk(compiled(queues=queues))
    for queue in queues:
        assert walk.ends(NAMES.tasks, queue) == [(NAMES.work(queue), 0)]
    assert walk.ends(NAMES.tasks, "nowhere") == []


def test_a_later_version_is_another_queue_behind_the_same_logical_name():
    """Publishers use only exchange and key, so they do not need the version."""
    text = """queues: {orders: {version: 2}}
exchanges: {shop: {type: fanout}}
bindings: [{source: shop, destination: orders}]"""
    entities = compiled(text)
    assert {(q.name, q.dead) for q in entities.queues if q.version} == {
        ("stem.orders.v2", False),
        ("stem.orders.dlq", True),
    }
    assert "stem.orders.dlq" in {queue.name for queue in entities.queues}
    assert "stem.orders" not in {queue.name for queue in entities.queues}
    bound = {(b.source, b.key) for b in entities.bindings if b.destination == "stem.orders.v2"}
    assert bound == {
        ("stem.tasks", "orders"),
        ("stem.deliver", "*.*.*.*.*.*.*.*.orders"),
        ("shop", ""),
    }
    own = arguments(entities, "stem.orders.v2")
    assert own["x-dead-letter-routing-key"] == "orders"


if __name__ == "__main__":
    GOLDEN.write_text(golden_text())


def test_the_rejected_queue_is_bounded_and_never_refuses():
    """Every publisher can fill it; without the section it does not exist."""
    names = Names("stem")
    assert names.rejected not in {
        q.name for q in compile_topology(Topology.default(), names).queues
    }
    entities = compile_topology(Topology.default().with_rejected(), names)
    (queue,) = (queue for queue in entities.queues if queue.name == names.rejected)
    assert queue.arguments == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1_000_000,
        "x-message-ttl": 604_800_000,
        "x-max-length": 10_000,
        "x-max-length-bytes": 67_108_864,
        "x-overflow": "drop-head",
    }
    (binding,) = (one for one in entities.bindings if one.destination == names.rejected)
    assert (binding.source, binding.key) == (names.dead, REJECTED_KEY)
    own = Topology(version=1, rejected={"max_length": 5}).with_rejected()
    assert own.rejected.max_length == 5
