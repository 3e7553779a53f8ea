"""Tests of the rules for the next run: which number, policy and age apply."""

import pytest
import tenacity
from worker_fakes import NOW, QUEUE, read_job, topology

from stem_amqp.clock import timestamp
from stem_amqp.context.context import TaskContext
from stem_amqp.messages.message import ATTEMPT, DELIVERY_COUNT, SINCE
from stem_amqp.outcome import Dead, Retried
from stem_amqp.retry import RetryPolicy
from stem_amqp.states import Reason
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import DEFAULT_MAX_RETRIES, TaskOptions
from stem_amqp.worker.retry_rules import RetryRules

QUEUES = """
queues:
  none: {retry: {max_retries: 0}}
  nine: {retry: {max_retries: 9}}
  other:
"""


def rules(text=""):
    """Return the rules of a topology."""
    return RetryRules(topology(text), max_age=1e6)


def task(**options):
    """Return a task with options."""
    return TaskDefinition.build("work", lambda: None, TaskOptions.build(options), TaskContext)


def test_the_queue_sets_the_number_of_retries_unless_call_or_task_does():
    """Each queue has its own number, of which 0 is one; other queues have the default."""
    both = rules(QUEUES)
    definition = task()
    for queue, expected in (("none", 0), ("nine", 9), ("other", DEFAULT_MAX_RETRIES)) * 2:
        assert both.max_retries(read_job(definition, queue=queue)) == expected
    assert both.max_retries(read_job(task(max_retries=3), queue="nine")) == 3
    call = read_job(task(max_retries=3), queue="nine", options={"max_retries": 0})
    assert both.max_retries(call) == 0


@pytest.mark.parametrize(
    ("age", "kind", "reason"), [(50.0, Retried, None), (150.0, Dead, Reason.RETRIES_EXHAUSTED)]
)
def test_a_stop_strategy_counts_from_the_enqueue(age, kind, reason):
    """`stop_after_delay` ends the retries by the age of the task, not of the run."""
    definition = task(retry=RetryPolicy(base=1, stop=tenacity.stop_after_delay(100)))
    one = read_job(definition, headers={SINCE: timestamp(NOW - age)})
    one.max_retries = 5
    outcome = rules().after_failure(one, definition, ValueError("no"), NOW)
    assert isinstance(outcome, kind)
    assert getattr(outcome, "reason", None) is reason


@pytest.mark.parametrize(
    ("call", "of_task", "of_queue", "delay"),
    [
        ({"base": 7, "jitter": 0}, {"base": 6, "jitter": 0}, "{base: 5s, jitter: 0}", 7.0),
        (None, {"base": 6, "jitter": 0}, "{base: 5s, jitter: 0}", 6.0),
        (None, None, "{base: 5s, jitter: 0}", 5.0),
        (None, None, "{jitter: 0}", 2.0),
    ],
)
def test_the_policy_is_that_of_the_call_else_of_the_task_else_of_the_queue(
    call, of_task, of_queue, delay
):
    """The first policy that is set counts alone."""
    definition = task(**({} if of_task is None else {"retry": of_task}))
    one = read_job(definition, options={} if call is None else {"retry": call})
    one.max_retries = 5
    text = f"queues: {{{QUEUE}: {{retry: {{backoff: {of_queue}}}}}}}"
    outcome = rules(text).after_failure(one, definition, ValueError("no"), NOW)
    assert (type(outcome), outcome.delay) == (Retried, delay)


def test_the_delay_of_a_native_retry_counts_the_failed_deliveries_alone():
    """Attempts before the message came to this queue again do not lengthen RabbitMQ's delay."""
    definition = task()
    headers = {ATTEMPT: 3, DELIVERY_COUNT: 1}
    one = read_job(definition, headers=headers, native=True, redelivered=True)
    one.max_retries = 9
    native = rules(f"queues: {{{QUEUE}: {{native_retry: {{min: 3s, max: 1m}}}}}}")
    outcome = native.after_failure(one, definition, ValueError("no"), NOW)
    assert (one.attempt, outcome.native, outcome.delay) == (4, True, 6.0)
