"""The topology's model: inherited values of queues, and the routes of tasks."""

import pytest
from pydantic import ValidationError

from stem_amqp.errors import UnknownTaskError
from stem_amqp.retry import DEFAULT_POLICY
from stem_amqp.tasks.options import DEFAULT_MAX_RETRIES
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.spec.queues import QueueSpec


def topology(text):
    """Return a topology from a text without its first line."""
    return parse_topology("version: 1\n" + text)


def test_without_a_file_every_queue_has_the_defaults():
    """No queue is declared, and every queue name has settings."""
    default = Topology.default()
    assert default.declared == ()
    assert default.namespace is None
    assert default.route("orders.sync") is None
    assert default.queue("anything") == QueueSpec()


def test_the_built_in_retries_are_those_of_a_task_without_a_topology():
    """The model's defaults are those of the library."""
    spec = Topology.default().queue("orders")
    assert spec.max_retries == DEFAULT_MAX_RETRIES
    assert spec.policy is not None
    assert spec.policy.short_form() == DEFAULT_POLICY.short_form()


def test_a_queue_inherits_what_it_does_not_set():
    """Own values take precedence, key by key."""
    found = topology("defaults: {prefetch: 5, ttl: 1h}\nqueues: {orders: {ttl: 2h}}")
    orders = found.queue("orders")
    assert (orders.prefetch, orders.ttl) == (5, 7200.0)
    assert found.queue("another").ttl == 3600.0


def test_retries_and_dead_letters_are_inherited_key_by_key_too():
    """A queue that changes one key of a nested mapping keeps the others."""
    orders = topology(
        "defaults: {retry: {max_retries: 7, backoff: {base: 1s, max: 1m}}, dead_letter: {ttl: 7d}}\n"
        "queues: {orders: {retry: {backoff: {max: 2m}}, dead_letter: {max_length: 5}}}"
    ).queue("orders")
    assert orders.max_retries == 7
    assert orders.retry is not None
    assert (orders.retry.backoff.base, orders.retry.backoff.max) == (1.0, 120.0)
    assert (orders.dead_letter.ttl, orders.dead_letter.max_length) == (604800.0, 5)


def test_null_turns_an_inherited_limit_off():
    """A queue can have no limit although the defaults have one."""
    found = topology(
        "defaults: {ttl: 1h, retry: {max_retries: 9}}\nqueues: {a: {ttl: null, retry: null}}"
    )
    assert found.queue("a").ttl is None
    assert found.queue("a").max_retries is None
    assert found.queue("a").policy is None


def test_setting_a_value_to_the_built_in_default_overrides_the_files_defaults():
    """A written value counts, even if it equals the built-in value."""
    found = topology("defaults: {delivery_limit: 50}\nqueues: {a: {delivery_limit: 100}, b: }")
    assert found.queue("a").delivery_limit == 100
    assert found.queue("b").delivery_limit == 50


def test_declared_are_the_queues_of_the_file_in_its_order():
    """A queue without any settings is declared too."""
    assert topology("queues:\n  b:\n  a: {}\n").declared == ("b", "a")


def test_empty_sections_are_as_good_as_none():
    """A section whose lines are all commented out is no mistake."""
    found = topology("defaults:\nqueues:\nexchanges:\nbindings:\nroutes:\n")
    assert found == Topology.default()


def test_a_queue_may_be_called_like_anything_in_yaml():
    """Keys without quotes are texts too: a number, a boolean, a keyword of YAML 1.1."""
    assert topology("queues: {1: , true: , on: , null: }").declared == ("1", "true", "on", "null")


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("orders.sync", "orders"),
        ("orders.eu.sync", "orders"),
        ("orders", None),
        ("Orders.sync", None),
        ("billing.email", "emails"),
        ("orders.email", "orders"),
        ("v2.x", "exact"),
        ("v22.x", None),
    ],
)
def test_the_first_route_that_fits_decides(task, queue):
    """A star is any text with dots; the whole name must match, in its case."""
    found = topology(
        "queues: {orders: , emails: , exact: }\n"
        "routes:\n"
        "  - {match: 'orders.*', queue: orders}\n"
        "  - {match: '*.email', queue: emails}\n"
        "  - {match: 'v?.x', queue: exact}\n"
    )
    assert found.route(task) == queue


def test_a_retry_spec_becomes_a_policy():
    """The backoff's values become the policy's short form."""
    spec = topology(
        "defaults: {retry: {backoff: {base: 1s, factor: 3, max: 9s, jitter: 0}}}"
    ).defaults
    assert spec.policy is not None
    error = UnknownTaskError("x")
    assert [spec.policy.delay(attempt, error) for attempt in range(4)] == [1, 3, 9, 9]


def test_a_topology_in_code_is_checked_as_one_in_a_file_is():
    """An inconsistent model cannot be created."""
    with pytest.raises(ValidationError, match="does not count deliveries"):
        Topology(version=1, queues={"a": QueueSpec(type="classic", delivery_limit=5)})


def test_a_topology_does_not_change():
    """Workers and producers share a frozen model."""
    with pytest.raises(ValidationError, match="frozen"):
        Topology.default().namespace = "other"
