"""Policies that fit what they should not, outrank each other, or do nothing."""

import pytest

from stem_amqp.topology.lint import lint
from stem_amqp.topology.load import parse_topology
from stem_amqp.topology.names import Names

QUEUES = "queues: {orders: , orders-eu: }\nextra_queues: {'{namespace}.audit': {type: stream}, '{namespace}.tap': }\n"


def warnings(text, head=QUEUES, **options):
    """Lint a topology given without its first lines."""
    return lint(parse_topology(f"version: 1\n{head}{text}"), **options)


def policy(pattern, definition, section="policies", **more):
    """Write a file with one policy p."""
    others = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{section}: {{p: {{pattern: '{pattern}', definition: {{{definition}}}{others}}}}}"


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (policy("^nowhere$", "max-length: 5"), "pattern", "fits no queue here"),
        (policy("^x$", "alternate-exchange: '{namespace}.dead'", apply_to="exchanges"),
         "pattern", "fits no exchange here"),
        (policy("^{namespace}[.]orders", "consumer-timeout: 1h"),
         "pattern", "fits not only stem.orders, but stem.orders.dlq and 2 more too"),
        (policy("tap", "max-length: 5") + "\nextra_queues: {'tap': , 'taps': }",
         "pattern", "fits not only tap, but taps too"),
        (policy("^{namespace}[.]delay[.]", "max-length: 5"),
         "definition.max-length", "refuses every retry"),
        (policy("^{namespace}[.]delay[.]", "max-length-bytes: 5", "operator_policies"),
         "definition.max-length-bytes", "refuses every retry"),
        (policy("^{namespace}[.]delay[.]", "message-ttl: 7d", "operator_policies"),
         "definition.message-ttl", "8.1 d and more away come too early"),
        (policy("^{namespace}[.]delay[.]", "expires: 1h"),
         "definition.expires", "deletes a queue that nobody consumed for 1 h"),
        (policy("[.]dlq$", "message-ttl: 7d"), "definition.message-ttl", "dropped after 7 d"),
        (policy("^{namespace}[.]unroutable$", "delivery-limit: 20"),
         "definition.delivery-limit", "uses it up"),
        (policy("^{namespace}[.]orders$", "expires: 1h"), "definition.expires", "stem.orders"),
        (policy("^{namespace}[.]orders$", "max-length: 9"),
         "definition.max-length", "32 refused messages"),
        (policy("^{namespace}[.]orders$", "dead-letter-exchange: '{namespace}.unroutable'"),
         "definition.dead-letter-exchange", "own argument comes first"),
        (policy("^{namespace}[.]orders$", "overflow: drop-head"),
         "definition.overflow", "stem.orders dead-letters at-most-once"),
        (policy("^{namespace}[.]delay[.]", "overflow: drop-head", "operator_policies"),
         "definition.overflow", "stem.delay.0000000.1s and 71 more dead-letters at-most-once"),
        (policy("^{namespace}[.]tap$", "dead-letter-strategy: at-least-once,"
                " dead-letter-exchange: '{namespace}.unroutable'"),
         "definition.dead-letter-strategy", "only together with overflow: reject-publish"),
        (policy("^{namespace}[.]reply[.]", "dead-letter-strategy: at-least-once"),
         "definition.dead-letter-strategy", "only together with overflow"),
        (policy("^{namespace}[.]audit$", "message-ttl: 1h"),
         "definition.message-ttl", "no effect on a stream queue, such as stem.audit"),
        (policy("^{namespace}[.]tap$", "max-age: 1h"),
         "definition.max-age", "no effect on a quorum queue"),
    ],
)  # fmt: skip
def test_what_a_policy_would_do_is_told(text, key, problem):
    """One caution, at the key, with what will happen."""
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
        policy("^{namespace}[.]delay[.]", "message-ttl: 365d", "operator_policies"),
        policy("^{namespace}[.]delay[.]", "queue-leader-locator: balanced"),
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
    """A warning that is always there is not read."""
    head = "queues: {orders: }\n" if "extra_queues" in text else QUEUES
    assert warnings(text, head) == []


def test_a_queue_that_only_a_task_names_is_known():
    """The application knows more queues than the file."""
    text = policy("^{namespace}[.]emails$", "message-ttl: 1d")
    assert len(warnings(text)) == 1
    assert warnings(text, queues=["emails"]) == []
    assert len(warnings(text, queues=["emails"], names=Names("a"))) == 0
    hard = policy("^stem[.]orders$", "message-ttl: 1d")
    assert warnings(hard) == []
    assert "fits no queue here" in warnings(hard, names=Names("a"))[0].problem


@pytest.mark.parametrize(
    ("priorities", "key", "problem"),
    [
        ((1, 2), "policies.a", "is not applied to stem.tap: b has a higher priority"),
        ((2, 1), "policies.b", "is not applied to stem.tap: a has a higher priority"),
        ((0, 0), "policies.a", "fits stem.tap as well as b, with the same priority"),
    ],
)
def test_of_two_policies_for_one_queue_only_one_counts(priorities, key, problem):
    """All that the other one says is not in force."""
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
