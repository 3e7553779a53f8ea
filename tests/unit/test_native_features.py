"""A topology's use of RabbitMQ features: arguments, mistakes, and the refusal by a release."""

import pytest

from stem_amqp.errors import FeatureMissingError, TopologyError
from stem_amqp.outcome import Failure, Retried
from stem_amqp.provision.demands import refuse_unsupported
from stem_amqp.settings import Settings
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.lint.run import lint_time_limits
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import BrokerInfo
from stem_amqp.worker.isolation.quarantine import Quarantine
from stem_amqp.worker.isolation.wire import job_fields, job_of, outcome_fields, outcome_of
from stem_amqp.worker.job import Job


def topology(text):
    """Return a topology from a text without its first line."""
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
    """The delivery limit includes the retries in addition to the backstop."""
    found = arguments("queues: {a: {NATIVE, delivery_limit: 50, retry: {max_retries: 7}}}")
    assert found["x-delayed-retry-type"] == "failed"
    assert found["x-delayed-retry-min"] == 1000
    assert found["x-delayed-retry-max"] == 60_000
    assert found["x-delivery-limit"] == 57


def test_without_a_longest_wait_all_are_alike():
    """The argument repeats RabbitMQ's default, so that the queue's page shows it."""
    found = arguments("queues: {a: {native_retry: {min: 2s}, retry: null}}")
    assert found["x-delayed-retry-max"] == found["x-delayed-retry-min"] == 2000
    assert found["x-delivery-limit"] == 103


def test_a_queue_that_asks_for_nothing_has_no_new_argument():
    """Existing queues need no migration."""
    assert not {name for name in arguments("queues: {a: }") if "retry" in name or "timeout" in name}
    assert "x-consumer-timeout" not in arguments("queues: {a: {strict_priority: true}}")


def test_a_consumer_timeout_is_in_milliseconds():
    """RabbitMQ expects milliseconds."""
    assert arguments("queues: {a: {consumer_timeout: 2h}}")["x-consumer-timeout"] == 7_200_000


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("queues: {a: {native_retry: {min: 1m, max: 1s}}}", "queues.a.native_retry", "shorter"),
        ("queues: {a: {native_retry: {min: 0s}}}", "queues.a.native_retry.min", "from 1ms"),
        ("queues: {a: {native_retry: {max: 5s}}}", "queues.a.native_retry.min", "missing"),
        ("queues: {a: {native_retry: {min: 1s, type: all}}}", "queues.a.native_retry.type", "type"),
        ("queues: {a: {NATIVE, retry: {backoff: {base: 1s}}}}",
         "queues.a.retry.backoff", "no effect together with native_retry"),
        ("queues: {a: {type: classic, NATIVE}}", "queues.a.native_retry", "cannot delay retries"),
        ("defaults: {NATIVE}\nqueues: {a: {type: classic}}", "queues.a.type", "native_retry"),
        ("queues: {a: {type: classic, strict_priority: true}}", "queues.a.strict_priority", "key"),
        ("queues: {a: {type: classic, consumer_timeout: 1h}}", "queues.a.consumer_timeout", "4.3"),
        ("queues: {a: {consumer_timeout: 30s}}", "queues.a.consumer_timeout", "once a minute|1m"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_a_mistake(text, key, problem):
    """RabbitMQ checks none of it: a wrong argument would silently switch the feature off."""
    with pytest.raises(TopologyError, match=problem) as caught:
        topology(text)
    assert caught.value.key == key


def test_the_refusal_names_key_release_reason_and_remedy():
    """Each feature is listed once, with all keys that need it in the same way."""
    text = refusal(
        "defaults: {NATIVE}\nqueues: {a: {consumer_timeout: 2h}, b: {consumer_timeout: 2h}, c: }", 3, 10, 8, queues=("a", "b", "c"),
    )  # fmt: skip
    assert text == (
        "the topology needs features that RabbitMQ 3.10.8 does not have:\n"
        "defaults.native_retry: needs RabbitMQ 4.3.1. On this one RabbitMQ silently"
        " accepts the arguments and delays nothing: a failing task would be redelivered at once,"
        " again and again.\n"
        "  Remove it: the delay queues retry on every release.\n"
        "queues.a.consumer_timeout, queues.b.consumer_timeout: needs RabbitMQ 3.12. On this one"
        " RabbitMQ has one timeout for all queues and ignores the queue's own.\n"
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
    """The previous release is refused, and the release itself is not."""
    assert "queues.a." in refusal(text, *last_without)
    assert refusal(text, *first_with) is None


def test_an_unrequested_feature_is_not_refused():
    """A plain topology works with every release."""
    assert refusal("queues: {a: {native_retry: null, strict_priority: false}}", 3, 10, 8) is None


def test_the_in_memory_broker_refuses_what_it_does_not_do():
    """It behaves like a release without these features."""
    assert "features that memory 3.13.0 does not have" in refusal(
        "queues: {a: {strict_priority: true}}", 3, 13, 0, product="memory"
    )


def test_a_time_limit_longer_than_the_consumer_timeout_is_warned_of():
    """RabbitMQ would requeue the task while it runs, and a worker would run it twice."""
    found = lint_time_limits(
        topology("queues: {a: {consumer_timeout: 1h}, b: }"),
        [("long", "a", 3600.0), ("short", "a", 3599.0), ("free", "b", 9e9)],
    )
    assert [(one.key, "long" in one.problem) for one in found] == [
        ("queues.a.consumer_timeout", True)
    ]


def job(count=None, *, native=True, redelivered=True, attempt=None):
    """Return a job as it comes from a queue."""
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
    """The job and its outcome carry the counts of native retries through the pipe."""
    assert job_of(job_fields(job(3, attempt=2))).attempt == 5
    retried = Retried(failure=Failure(error="e"), delay=2.0, native=True)
    assert outcome_of(outcome_fields(retried)) == retried


def test_only_more_deliveries_than_retries_are_crashes():
    """Up to max_retries each delivery may have failed; each one beyond has killed a worker."""
    quarantine = Quarantine(object(), Settings(quarantine_after=2))
    assert quarantine.explained(job(5), max_retries=5)
    assert quarantine.explained(job(6), max_retries=5)
    assert not quarantine.explained(job(7), max_retries=5)
    assert not quarantine.explained(job(1, native=False), max_retries=5)
