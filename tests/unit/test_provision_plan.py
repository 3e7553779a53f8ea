"""Differences between a topology and a broker: pure comparisons."""

import dataclasses

import pytest

from stem_amqp.provision.foreign import is_of_this_namespace
from stem_amqp.provision.inventory import FoundExchange, FoundQueue, Inventory, Mismatch
from stem_amqp.provision.plan import make_plan
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.delays import delays
from stem_amqp.topology.entities import Binding, Entities, Policy
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.names import FormerNames, Names

NAMES = Names("stem")


def compiled(text=""):
    """Return a compiled topology given without its first line, with the queue orders."""
    return compile_topology(parse_topology("version: 1\n" + text), NAMES, ["orders"])


def standing(entities, **more):
    """Return a broker that has these entities."""
    queues = {
        queue.name: FoundQueue(
            name=queue.name,
            type=queue.arguments["x-queue-type"],
            arguments=queue.arguments,
            messages=0,
            consumers=0,
        )
        for queue in entities.queues
    }
    exchanges = {
        exchange.name: FoundExchange(
            name=exchange.name, type=exchange.type, arguments=exchange.arguments
        )
        for exchange in entities.exchanges
    }
    return Inventory(
        source="management",
        queues=queues | more.pop("queues", {}),
        exchanges=exchanges | more.pop("exchanges", {}),
        bindings=(*entities.bindings, *more.pop("bindings", ())),
        policies=(*entities.policies, *more.pop("policies", ())),
        **more,
    )


def test_what_stands_as_it_is_wanted_needs_nothing():
    """Every entity counts as equal."""
    entities = compiled()
    plan = make_plan(entities, standing(entities), NAMES)
    assert plan.nothing_to_do
    assert plan.same == sum(map(len, (entities.exchanges, entities.queues, entities.bindings)))
    assert not plan.undeclared
    assert not plan.notes


def test_an_empty_broker_lacks_everything():
    """They are listed in the order in which they can be declared."""
    entities = compiled()
    plan = make_plan(entities, Inventory(source="management"), NAMES)
    kinds = [step.kind for step in plan.create]
    assert kinds == sorted(kinds, key=["exchange", "queue", "binding"].index)
    assert plan.same == 0


def test_every_argument_that_differs_is_named_with_both_values():
    """This includes an argument that only the broker or only the topology has."""
    wanted = compiled("queues: {orders: {ttl: 1h, delivery_limit: 7}}\n")
    there = compiled("queues: {orders: {max_length: 10}}\n")
    (step,) = make_plan(wanted, standing(there), NAMES).blocked
    assert step.name == "stem.orders"
    assert {(one.key, one.wanted, one.current) for one in step.details} == {
        ("x-delivery-limit", "7", "100"),
        ("x-message-ttl", "3600000", "–"),  # noqa: RUF001 - what stands for nothing
        ("x-max-length", "–", "10"),  # noqa: RUF001 - likewise
    }
    assert "stem-amqp topology migrate -Q orders" in step.remedy


def test_an_exchange_of_another_type_is_blocked():
    """RabbitMQ cannot change the type of an exchange."""
    entities = compiled()
    other = {"stem.tasks": FoundExchange(name="stem.tasks", type="direct")}
    (step,) = make_plan(entities, standing(entities, exchanges=other), NAMES).blocked
    assert [(one.key, one.wanted, one.current) for one in step.details] == [
        ("type", "topic", "direct")
    ]


def test_a_missing_binding_is_created_and_a_foreign_one_left_alone():
    """A binding to an operator's queue stays; a binding between our own entities is reported."""
    entities = compiled()
    tap = Binding(source="stem.tasks", destination="audit", key="#")
    stale = Binding(source="stem.tasks", destination="stem.orders", key="old")
    there = standing(entities, bindings=(tap, stale))
    there_less = Inventory(
        source="management",
        queues=there.queues,
        exchanges=there.exchanges,
        bindings=tuple(b for b in there.bindings if b.key != "orders"),
    )
    plan = make_plan(entities, there_less, NAMES)
    assert {step.entity.source for step in plan.create} == {"stem.tasks", "stem.dead"}
    assert [step.entity for step in plan.undeclared] == [stale]


def test_policies_are_changed_in_place():
    """A policy that differs needs no migration."""
    policy = Policy(name="stem.orders", pattern="^x$", definition={"message-ttl": 5})
    entities = Entities(policies=(policy,))
    other = Policy(name="stem.orders", pattern="^x$", definition={"message-ttl": 9}, priority=1)
    plan = make_plan(entities, Inventory(source="management", policies=(other,)), NAMES)
    (step,) = plan.change
    assert {(one.key, one.wanted, one.current) for one in step.details} == {
        ("priority", "0", "1"),
        ("message-ttl", "5", "9"),
    }
    assert make_plan(entities, Inventory(source="management"), NAMES).create[0].kind == "policy"


def test_a_policy_that_overrules_an_argument_is_reported():
    """The lower of the two values counts, and the queue's arguments do not show it."""
    entities = compiled("queues: {orders: {ttl: 1h}}\n")
    (queue,) = (queue for queue in entities.queues if queue.name == "stem.orders")
    found = FoundQueue(
        name=queue.name,
        type="quorum",
        arguments=queue.arguments,
        operator_policy="limits",
        effective={"message-ttl": 1000, "delivery-limit": 500},
    )
    plan = make_plan(entities, standing(entities, queues={queue.name: found}), NAMES)
    assert plan.nothing_to_do
    (note,) = plan.notes
    assert "x-message-ttl is 3600000, but the operator policy limits sets 1000" in note


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("stem.old", True),
        ("stem.old.dlq", True),
        ("stem.staging.orders", False),
        ("stem.staging.tasks", False),
        ("stem.reply.host", False),
        ("stem.group.g1.claim", False),
        ("stem.control.host", False),
        ("stemmed.orders", False),
    ],
)
def test_names_of_other_namespaces_are_theirs(name, ours):
    """This holds for a name that begins like ours; transient entities are left out."""
    inner = {
        exchange: FoundExchange(name=exchange, type="topic")
        for exchange in ("stem.staging.tasks", "stem.staging.dead", "stem.staging.deliver")
    }
    assert (
        is_of_this_namespace(NAMES, Inventory(source="management", exchanges=inner))(name) is ours
    )


def test_an_undeclared_queue_is_reported_with_its_contents():
    """An exclusive queue belongs to a connection, and is not counted."""
    entities = compiled()
    queues = {
        "stem.old": FoundQueue(name="stem.old", messages=3, consumers=1),
        "stem.own": FoundQueue(name="stem.own", exclusive=True),
    }
    (step,) = make_plan(entities, standing(entities, queues=queues), NAMES).undeclared
    assert step.entity.name == "stem.old"
    assert {(one.key, one.current) for one in step.details} == {
        ("messages", "3"),
        ("consumers", "1"),
    }


def test_without_the_management_api_the_named_difference_is_shown():
    """The plan says what could not be checked."""
    entities = compiled()
    there = standing(entities)
    inventory = Inventory(
        source="amqp",
        queues=there.queues,
        exchanges=there.exchanges,
        mismatches={"stem.orders": Mismatch(argument="x-max-length", wanted="none", current="5")},
    )
    plan = make_plan(entities, inventory, NAMES)
    assert [step.details[0].current for step in plan.blocked] == ["5"]
    assert "without the management API" in plan.notes[0]


def test_a_policy_that_another_version_lives_by_is_not_left_over():
    """Pruning it would remove the dead-lettering of a queue that is still being drained."""
    old = compiled("settings: policies\nqueues: {orders: {ttl: 1h}}\n")
    new = compiled("settings: policies\nqueues: {orders: {ttl: 2h, version: 2}}\n")
    both = standing(new, queues=dict(standing(old).queues), policies=old.policies)
    assert make_plan(new, both, NAMES).undeclared == ()
    gone = standing(new, policies=old.policies)
    assert [step.name for step in make_plan(new, gone, NAMES).undeclared] == ["stem.orders"]


def test_the_remedy_names_the_file():
    """The command can be copied and run."""
    wanted, there = compiled("queues: {orders: {ttl: 1h}}\n"), compiled()
    (step,) = make_plan(wanted, standing(there), NAMES, "shop.yaml").blocked
    assert "stem-amqp topology migrate shop.yaml -Q orders" in step.remedy


@pytest.mark.parametrize(
    ("there", "wanted", "policy"),
    [
        ("", "ttl: 1h", ("{'{namespace}.orders': {pattern: '^{namespace}[.]orders$', "
         "definition: {message-ttl: 3600s}}}")),
        ("max_length: 10", "max_length: 5, ttl: 500ms", ("{'{namespace}.orders': {pattern: "
         "'^{namespace}[.]orders$', definition: {max-length: 5, message-ttl: 500ms}}}")),
        ("dead_letter: {max_length: 9}", "dead_letter: {max_length: 7}",
         ("{'{namespace}.orders.dlq': {pattern: '^{namespace}[.]orders[.]dlq$', "
         "definition: {max-length: 7}}}")),
    ],
)  # fmt: skip
def test_an_argument_that_a_policy_can_set_is_reported_as_a_line_of_the_file(there, wanted, policy):
    """It needs no migration: the lower limit of policy and existing argument counts."""
    old = f"queues: {{orders: {{{there}}}}}\n"
    standing_now = standing(compiled(old))
    new = compiled(f"queues: {{orders: {{{wanted}}}}}\n")
    (step,) = make_plan(new, standing_now, NAMES).blocked
    migrate, how, line = step.remedy.splitlines()
    assert "topology migrate -Q orders" in migrate
    assert (
        how == "Without a migration: keep the queue's old values in the file, and apply a policy:"
    )
    assert line == f"  policies: {policy}"
    followed = compiled(f"{old}{line.strip()}\n")
    after = make_plan(followed, standing_now, NAMES)
    assert not after.blocked
    (made,) = after.create
    assert made.kind == "policy"
    assert {f"x-{key}": value for key, value in made.entity.definition.items()} == {
        one.key: int(one.wanted) for one in step.details
    }


def test_a_policy_that_is_in_force_is_to_be_changed():
    """RabbitMQ applies one policy to a queue: a second one has no effect, or is the only one."""
    there = standing(compiled())
    found = dataclasses.replace(there.queues["stem.orders"], policy="ops")
    there = dataclasses.replace(there, queues={**there.queues, "stem.orders": found})
    (step,) = make_plan(compiled("queues: {orders: {max_length: 5}}\n"), there, NAMES).blocked
    assert step.remedy.endswith("add to the policy ops, which is in force: max-length: 5")


@pytest.mark.parametrize(
    ("there", "wanted", "says"),
    [
        ("max_length: 5", "max_length: 10", "settings: policies in the file, the next change of"),
        ("ttl: 1h", "max_length: 5", "settings: policies in the file, the next change of"),
        ("", "type: classic", None),
        ("", "type: classic, max_length: 5", None),
    ],
)
def test_what_no_policy_changes_now_takes_the_migration(there, wanted, says):
    """A higher limit has no effect next to a lower one, and a policy cannot change a type."""
    there = standing(compiled(f"queues: {{orders: {{{there}}}}}\n"))
    (step,) = make_plan(compiled(f"queues: {{orders: {{{wanted}}}}}\n"), there, NAMES).blocked
    assert "Without a migration" not in step.remedy
    assert (says in step.remedy) if says else ("polic" not in step.remedy)


def test_settings_that_are_policies_already_are_not_proposed():
    """The file sets the policies already; the queue is older."""
    there = standing(compiled("queues: {orders: {max_length: 5}}\n"))
    wanted = compiled("settings: policies\nqueues: {orders: {max_length: 5}}\n")
    steps = make_plan(wanted, there, NAMES).blocked
    assert {step.name for step in steps} == {"stem.orders", "stem.orders.dlq"}
    assert all("polic" not in step.remedy for step in steps)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, "they are empty. Once"),
        ({"messages": 1}, "72 messages are in them"),
        ({"messages": 0, "dead_lettering": 1}, "72 messages are in them"),
        ({"messages": None}, "not known yet"),
    ],
)
def test_the_delays_of_an_earlier_version_are_reported_as_one(counts, said):
    """They are in use during an upgrade, and can only be removed together."""
    entities, former = compiled(), delays(FormerNames("stem"))
    inventory = standing(entities)
    left = standing(former)
    queues = {name: dataclasses.replace(one, **counts) for name, one in left.queues.items()}
    inventory = dataclasses.replace(
        inventory,
        queues={**inventory.queues, **queues},
        exchanges={**inventory.exchanges, **left.exchanges},
        bindings=(*inventory.bindings, *left.bindings),
    )
    plan = make_plan(entities, inventory, NAMES)
    assert plan.nothing_to_do
    assert not plan.undeclared
    assert said in str(plan.former_delays)
    assert "8 exchanges and 72 queues stem.delay.* " in str(plan.former_delays)
    assert make_plan(entities, standing(entities), NAMES).former_delays is None


def test_a_limit_that_the_topology_does_not_know_is_reported():
    """Its delays end in no holding queue, so they can block the delays of all queues."""
    entities = compiled()
    inventory = standing(entities)
    work = dataclasses.replace(
        inventory.queues["stem.orders"], policy="ops", effective={"max-length": 10}
    )
    limited = dataclasses.replace(inventory, queues={**inventory.queues, "stem.orders": work})
    (note,) = make_plan(entities, limited, NAMES).notes
    assert note.startswith("queue stem.orders: the policy ops limits its length")
    known = compiled("queues: {orders: {max_length: 10}}")
    assert "stem.zz-due.orders" in {queue.name for queue in known.queues}
    assert not any("limits" in note for note in make_plan(known, limited, NAMES).notes)
