"""What a topology asks of a release of RabbitMQ: its arguments, its mistakes, and the refusal."""

import pytest

from stem_amqp.errors import FeatureMissingError, TopologyError
from stem_amqp.provision.demands import refuse_unsupported
from stem_amqp.settings import Settings
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.lint import lint_time_limits
from stem_amqp.topology.load import parse_topology
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import BrokerInfo
from stem_amqp.worker.child_wire import job_fields, job_of, outcome_fields, outcome_of
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import Failure, Retried
from stem_amqp.worker.quarantine import Quarantine


def topology(text):
    """Read a topology given without its first line."""
    return parse_topology(
        "version: 1\n" + text.replace("NATIVE", "native_retry: {min: 1s, max: 1m}")
    )


def arguments(text):
    """Return the arguments of the work queue a."""
    entities = compile_topology(topology(text), Names("stem"))
    return next(queue.arguments for queue in entities.queues if queue.name == "stem.a")


def refusal(text, *version, queues=("a",), product="RabbitMQ"):
    """Return the text of the refusal by a release, or None."""
    try:
        refuse_unsupported(topology(text), queues, BrokerInfo(product=product, version=version))
    except FeatureMissingError as error:
        return str(error)
    return None


def test_native_retries_are_arguments_of_the_queue():
    """The delivery limit has room for the retries, beside the backstop."""
    found = arguments("queues: {a: {NATIVE, delivery_limit: 50, retry: {max_retries: 7}}}")
    assert found["x-delayed-retry-type"] == "failed"
    assert found["x-delayed-retry-min"] == 1000
    assert found["x-delayed-retry-max"] == 60_000
    assert found["x-delivery-limit"] == 57


def test_without_a_longest_wait_all_are_alike():
    """RabbitMQ would do the same, but the argument says it to who reads the queue's page."""
    found = arguments("queues: {a: {native_retry: {min: 2s}, retry: null}}")
    assert found["x-delayed-retry-max"] == found["x-delayed-retry-min"] == 2000
    assert found["x-delivery-limit"] == 103


def test_a_queue_that_asks_for_nothing_has_no_new_argument():
    """So that no queue that stands has to be migrated."""
    assert not {name for name in arguments("queues: {a: }") if "retry" in name or "timeout" in name}
    assert "x-consumer-timeout" not in arguments("queues: {a: {strict_priority: true}}")


def test_a_consumer_timeout_is_in_milliseconds():
    """As RabbitMQ takes it."""
    assert arguments("queues: {a: {consumer_timeout: 2h}}")["x-consumer-timeout"] == 7_200_000


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("queues: {a: {native_retry: {min: 1m, max: 1s}}}", "queues.a.native_retry", "shorter"),
        ("queues: {a: {native_retry: {min: 0s}}}", "queues.a.native_retry.min", "from 1ms"),
        ("queues: {a: {native_retry: {max: 5s}}}", "queues.a.native_retry.min", "missing"),
        ("queues: {a: {native_retry: {min: 1s, type: all}}}", "queues.a.native_retry.type", "type"),
        ("queues: {a: {NATIVE, retry: {backoff: {base: 1s}}}}",
         "queues.a.retry.backoff", "no effect beside native_retry"),
        ("queues: {a: {type: classic, NATIVE}}", "queues.a.native_retry", "delays no retries"),
        ("defaults: {NATIVE}\nqueues: {a: {type: classic}}", "queues.a.type", "native_retry"),
        ("queues: {a: {type: classic, strict_priority: true}}", "queues.a.strict_priority", "key"),
        ("queues: {a: {type: classic, consumer_timeout: 1h}}", "queues.a.consumer_timeout", "4.3"),
        ("queues: {a: {consumer_timeout: 30s}}", "queues.a.consumer_timeout", "once a minute|1m"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_a_mistake(text, key, problem):
    """RabbitMQ checks none of it: a wrong argument would switch the feature off without a word."""
    with pytest.raises(TopologyError, match=problem) as caught:
        topology(text)
    assert caught.value.key == key


def test_the_refusal_names_key_release_reason_and_remedy():
    """Everything on one screen, each feature once, with all keys that ask for it alike."""
    text = refusal(
        "defaults: {NATIVE}\nqueues: {a: {consumer_timeout: 2h}, b: {consumer_timeout: 2h}, c: }", 3, 10, 8, queues=("a", "b", "c"),
    )  # fmt: skip
    assert text == (
        "the topology wants what RabbitMQ 3.10.8 has not:\n"
        "defaults.native_retry: needs RabbitMQ 4.3.1. On this one RabbitMQ keeps the arguments"
        " without a word and delays nothing: a failing task would come back at once, again and"
        " again.\n"
        "  Remove it: the delay queues retry on every release.\n"
        "queues.a.consumer_timeout, queues.b.consumer_timeout: needs RabbitMQ 3.12. On this one"
        " RabbitMQ has one timeout for all of its queues, and ignores that of a queue.\n"
        "  Remove it, and write into rabbitmq.conf: consumer_timeout = 7200000"
    )


@pytest.mark.parametrize(
    ("text", "last_without", "first_with"),
    [
        ("queues: {a: {NATIVE}}", (4, 3, 0), (4, 3, 1)),
        ("queues: {a: {strict_priority: true}}", (4, 2, 9), (4, 3, 0)),
        ("queues: {a: {consumer_timeout: 1h}}", (3, 11, 28), (3, 12, 0)),
    ],
)  # fmt: skip
def test_each_feature_has_its_first_release(text, last_without, first_with):
    """The release before refuses, the release itself does not."""
    assert "queues.a." in refusal(text, *last_without)
    assert refusal(text, *first_with) is None


def test_what_nobody_asks_for_is_not_refused():
    """A plain topology is for every release."""
    assert refusal("queues: {a: {native_retry: null, strict_priority: false}}", 3, 10, 8) is None


def test_the_in_memory_broker_refuses_what_it_does_not_do():
    """It follows a release that has neither."""
    assert "what memory 3.13.0 has not" in refusal(
        "queues: {a: {strict_priority: true}}", 3, 13, 0, product="memory"
    )


def test_a_time_limit_longer_than_the_consumer_timeout_is_warned_of():
    """RabbitMQ would take the task away while it runs, and have it run twice."""
    found = lint_time_limits(
        topology("queues: {a: {consumer_timeout: 1h}, b: }"),
        [("long", "a", 3600.0), ("short", "a", 3599.0), ("free", "b", 9e9)],
    )
    assert [(one.key, "long" in one.problem) for one in found] == [
        ("queues.a.consumer_timeout", True)
    ]


def job(count=None, *, native=True, redelivered=True, attempt=None):
    """Make a job as it comes from a queue."""
    headers = {"x-delivery-count": count, "stem-attempt": attempt}
    present = {name: value for name, value in headers.items() if value is not None}
    return Job(body=b"", headers=present, queue="a", native=native, redelivered=redelivered)


def test_the_attempt_is_what_rabbitmq_has_counted_since_the_last_publish():
    """A first delivery, and a queue whose returns are not failures, count nothing."""
    assert job().attempt == 0
    assert job(3).attempt == 3
    assert job(3, attempt=2).attempt == 5
    assert job(3, native=False).attempt == 0
    assert job(3, redelivered=False).attempt == 0
    assert job(-1).attempt == 0


def test_a_child_process_counts_the_same_attempt():
    """The job and its outcome cross the pipe with what they know of native retries."""
    assert job_of(job_fields(job(3, attempt=2))).attempt == 5
    retried = Retried(failure=Failure(error="e"), delay=2.0, native=True)
    assert outcome_of(outcome_fields(retried)) == retried


def test_only_more_deliveries_than_retries_are_crashes():
    """Up to max_retries every delivery may have been a failure; what is beyond has killed workers."""
    quarantine = Quarantine(object(), Settings(quarantine_after=2))
    assert quarantine.explained(job(5), max_retries=5)
    assert quarantine.explained(job(6), max_retries=5)
    assert not quarantine.explained(job(7), max_retries=5)
    assert not quarantine.explained(job(1, native=False), max_retries=5)
