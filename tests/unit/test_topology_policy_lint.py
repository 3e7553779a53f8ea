"""Policies that match unintended queues, override each other, or have no effect."""

import pytest

from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.lint.run import lint
from stem_amqp.topology.names import Names

QUEUES = "queues: {orders: , orders-eu: }\nextra_queues: {'{namespace}.audit': {type: stream}, '{namespace}.tap': }\n"


def warnings(text, head=QUEUES, **options):
    """Return the warnings of a topology given without its first lines."""
    return lint(parse_topology(f"version: 1\n{head}{text}"), **options)


def policy(pattern, definition, section="policies", **more):
    """Return a file with one policy p."""
    others = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{section}: {{p: {{pattern: '{pattern}', definition: {{{definition}}}{others}}}}}"


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (policy("^nowhere$", "max-length: 5"), "pattern", "matches no queue here"),
        (policy("^x$", "alternate-exchange: '{namespace}.dead'", apply_to="exchanges"),
         "pattern", "matches no exchange here"),
        (policy("^{namespace}[.]orders", "consumer-timeout: 1h"),
         "pattern", "matches not only stem.orders but also stem.orders.dlq and 2 more"),
        (policy("tap", "max-length: 5") + "\nextra_queues: {'tap': , 'taps': }",
         "pattern", "matches not only tap but also taps"),
        (policy("^{namespace}[.]zz-delay[.]", "max-length: 5"),
         "definition.max-length", "refuses every retry"),
        (policy("^{namespace}[.]zz-delay[.]", "max-length-bytes: 5", "operator_policies"),
         "definition.max-length-bytes", "refuses every retry"),
        (policy("^{namespace}[.]zz-delay[.]", "message-ttl: 7d", "operator_policies"),
         "definition.message-ttl", "8.1 d and more arrive too early"),
        (policy("^{namespace}[.]zz-delay[.]", "expires: 1h"),
         "definition.expires", "deletes a queue without consumers for 1 h"),
        (policy("[.]dlq$", "message-ttl: 7d"), "definition.message-ttl", "dropped after 7 d"),
        (policy("^{namespace}[.]unroutable$", "delivery-limit: 20"),
         "definition.delivery-limit", "counts as a delivery"),
        (policy("^{namespace}[.]orders$", "expires: 1h"), "definition.expires", "stem.orders"),
        (policy("^{namespace}[.]orders$", "max-length: 9"),
         "definition.max-length", "wait for room in a holding queue"),
        (policy("^{namespace}[.]orders$", "dead-letter-exchange: '{namespace}.unroutable'"),
         "definition.dead-letter-exchange", "argument takes precedence"),
        (policy("^{namespace}[.]orders$", "overflow: drop-head"),
         "definition.overflow", "stem.orders dead-letters at-most-once"),
        (policy("^{namespace}[.]zz-delay[.]", "overflow: drop-head", "operator_policies"),
         "definition.overflow", "stem.zz-delay.0000000.1s and 71 more dead-letters at-most-once"),
        (policy("^{namespace}[.]tap$", "dead-letter-strategy: at-least-once,"
                " dead-letter-exchange: '{namespace}.unroutable'"),
         "definition.dead-letter-strategy", "only with overflow: reject-publish"),
        (policy("^{namespace}[.]reply[.]", "dead-letter-strategy: at-least-once"),
         "definition.dead-letter-strategy", "only with overflow"),
        (policy("^{namespace}[.]audit$", "message-ttl: 1h"),
         "definition.message-ttl", "no effect on a stream queue, such as stem.audit"),
        (policy("^{namespace}[.]tap$", "max-age: 1h"),
         "definition.max-age", "no effect on a quorum queue"),
    ],
)  # fmt: skip
def test_the_effect_of_a_policy_is_shown(text, key, problem):
    """One warning at the key has the effect."""
    section = "operator_policies" if text.startswith("operator") else "policies"
    head = "" if "extra_queues" in text else QUEUES
    [found] = warnings(text, head)
    assert found.key == f"{section}.p.{key}"
    assert problem in found.problem
    assert found.remedy


@pytest.mark.parametrize(
    "text",
    [
        policy("^{namespace}[.]tap$", "max-length: 5, overflow: drop-head"),
        policy("^{namespace}[.]tap$", "dead-letter-strategy: at-least-once, overflow: reject-publish,"
               " dead-letter-exchange: '{namespace}.unroutable'"),
        policy("^{namespace}[.]orders$", "message-ttl: 1d", "operator_policies"),
        policy("^{namespace}[.]zz-delay[.]", "message-ttl: 365d", "operator_policies"),
        policy("^{namespace}[.]zz-delay[.]", "queue-leader-locator: balanced"),
        policy("^{namespace}[.]reply[.]", "max-length: 1000"),
        policy("^{namespace}[.]orders[.]v2$", "message-ttl: 1d"),
        policy("^{namespace}[.]audit$", "max-age: 7d"),
        policy("^crm[.]", "max-length: 5") + "\nextra_queues: {crm.mail: {external: true}}",
        policy("^{namespace}[.]orders(-eu)?$", "message-ttl: 1d"),
        policy("^{namespace}[.]tasks$", "alternate-exchange: '{namespace}.unroutable'",
               apply_to="exchanges"),
    ],
)  # fmt: skip
def test_a_policy_that_does_what_it_says_is_not_warned_of(text):
    """Warnings that always appear are not read."""
    head = "queues: {orders: }\n" if "extra_queues" in text else QUEUES
    assert warnings(text, head) == []


def test_a_queue_that_only_a_task_names_is_known():
    """The application has more queues than the file."""
    text = policy("^{namespace}[.]emails$", "message-ttl: 1d")
    assert len(warnings(text)) == 1
    assert warnings(text, queues=["emails"]) == []
    assert len(warnings(text, queues=["emails"], names=Names("a"))) == 0
    hard = policy("^stem[.]orders$", "message-ttl: 1d")
    assert warnings(hard) == []
    assert "matches no queue here" in warnings(hard, names=Names("a"))[0].problem


@pytest.mark.parametrize(
    ("priorities", "key", "problem"),
    [
        ((1, 2), "policies.a", "is not applied to stem.tap: b has a higher priority"),
        ((2, 1), "policies.b", "is not applied to stem.tap: a has a higher priority"),
        ((0, 0), "policies.a", "matches stem.tap, as does b with the same priority"),
    ],
)
def test_of_two_policies_for_one_queue_only_one_counts(priorities, key, problem):
    """None of the other policy's settings is in force."""
    one, other = priorities
    text = f"""policies:
  a: {{pattern: '[.]tap$', priority: {one}, definition: {{max-length: 5}}}}
  b: {{pattern: '^{{namespace}}[.]tap$', priority: {other}, definition: {{message-ttl: 1d}}}}
"""
    [found] = warnings(text)
    assert found.key == key
    assert problem in found.problem
    apart = text.replace("policies:\n  a", "operator_policies:\n  a").replace(
        "\n  b", "\npolicies:\n  b"
    )
    assert warnings(apart) == []
