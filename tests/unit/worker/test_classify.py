"""Tests of the outcomes of runs that raised an exception."""

import math

import pytest
import tenacity

from stem_amqp.context.context import TaskContext
from stem_amqp.errors import (
    BackendUnavailableError,
    ConfigurationError,
    ProcessDiedError,
    ResultUnavailableError,
    SoftTimeLimitError,
    TimeLimitError,
    UnknownTaskError,
)
from stem_amqp.outcome import Dead, Retried, Snoozed
from stem_amqp.retry import RetryPolicy
from stem_amqp.states import Reason
from stem_amqp.task_control import Reject, Retry, Snooze
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import TaskOptions
from stem_amqp.worker.classify import LONGEST_DELAY, UnwritableResultError, classify

POLICY = RetryPolicy(base=2, factor=3, jitter=0)


def outcome(error, *, attempt=0, max_retries=5, policy=POLICY, elapsed=0.0, **options):
    """Return the outcome of an exception for a task with the given options."""
    definition = TaskDefinition.build("work", lambda: None, TaskOptions.build(options), TaskContext)
    return classify(
        error,
        attempt=attempt,
        max_retries=max_retries,
        policy=policy,
        definition=definition,
        elapsed=elapsed,
    )


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        BackendUnavailableError("gone"),
        TimeLimitError("slow"),
        SoftTimeLimitError("slow"),
        ProcessDiedError("SIGKILL"),
        SystemExit(1),
        ExceptionGroup("two", [ValueError("no")]),
    ],
)
def test_a_failure_is_retried_by_the_policy(error):
    """The policy also applies to exceptions that are not subclasses of `Exception`."""
    found = outcome(error, attempt=2)
    assert isinstance(found, Retried)
    assert found.delay == 2 * 3**2
    assert not found.native
    assert type(error).__name__ in found.failure.error


@pytest.mark.parametrize(
    ("error", "attempt", "reason"),
    [
        (ValueError("no"), 4, None),
        (ValueError("no"), 5, Reason.RETRIES_EXHAUSTED),
        (Retry(), 5, Reason.RETRIES_EXHAUSTED),
        (Retry("1s"), 5, Reason.RETRIES_EXHAUSTED),
        (ProcessDiedError("SIGKILL"), 5, Reason.CRASHED),
    ],
)
def test_the_last_retry_is_the_end(error, attempt, reason):
    """After the last retry, every failure is a dead letter; a dead process has its own reason."""
    found = outcome(error, attempt=attempt)
    assert isinstance(found, Retried if reason is None else Dead)
    assert reason is None or found.reason is reason


@pytest.mark.parametrize(
    ("error", "options", "reason"),
    [
        (KeyError("k"), {"never_retry_on": LookupError}, Reason.NOT_RETRYABLE),
        (KeyError("k"), {"never_retry_on": ValueError}, None),
        (KeyError("k"), {"retry_on": ValueError}, Reason.NOT_RETRYABLE),
        (KeyError("k"), {"retry_on": LookupError}, None),
        (
            KeyError("k"),
            {"retry_on": KeyError, "never_retry_on": KeyError},
            Reason.NOT_RETRYABLE,
        ),
        (ProcessDiedError("x"), {"never_retry_on": ProcessDiedError}, Reason.CRASHED),
        (ProcessDiedError("x"), {"retry_on": ValueError}, Reason.CRASHED),
        (SystemExit(1), {"retry_on": ValueError}, None),
        (UnknownTaskError("x"), {}, Reason.NOT_RETRYABLE),
        (ConfigurationError("x"), {}, Reason.NOT_RETRYABLE),
        (ResultUnavailableError("x"), {}, Reason.NOT_RETRYABLE),
        (ResultUnavailableError("x"), {"retry_on": Exception}, Reason.NOT_RETRYABLE),
        (ResultUnavailableError("x"), {"retry_on": ResultUnavailableError}, None),
        (Retry(), {"never_retry_on": Exception}, None),
    ],
)
def test_what_is_not_to_be_retried_is_a_dead_letter_at_once(error, options, reason):
    """The task's options exclude a retry, or another run would raise the same error."""
    found = outcome(error, **options)
    assert isinstance(found, Retried if reason is None else Dead)
    assert reason is None or found.reason is reason


@pytest.mark.parametrize(
    ("error", "options", "declared"),
    [
        (KeyError("k"), {"expected": LookupError}, True),
        (KeyError("k"), {"expected": (OSError, KeyError), "retry_on": KeyError}, True),
        (KeyError("k"), {"expected": KeyError, "never_retry_on": KeyError}, True),
        (KeyError("k"), {"expected": ValueError, "never_retry_on": KeyError}, False),
    ],
)
def test_an_error_that_the_task_declares_is_an_expected_end(error, options, declared):
    """It is not retried, and it is marked; `expected` takes precedence."""
    found = outcome(error, **options)
    assert isinstance(found, Dead)
    assert (found.reason, found.expected) == (Reason.NOT_RETRYABLE, declared)
    assert found.failure.exception is error


def test_a_declared_error_does_not_prevent_a_retry_that_the_task_asks_for():
    """`Retry` determines the outcome, whatever raised it."""
    error = Retry("9s")
    error.__cause__ = KeyError("k")
    assert isinstance(outcome(error, expected=KeyError), Retried)


@pytest.mark.parametrize(
    ("delay", "expected"), [("90s", 90.0), (0, 0.0), (1e12, LONGEST_DELAY), (None, 2.0)]
)
def test_a_task_may_ask_for_a_retry_at_a_time_of_its_own(delay, expected):
    """The delay of `Retry` is used, within the limit; without one, the policy's delay is used."""
    found = outcome(Retry(delay, reason="busy"))
    assert isinstance(found, Retried)
    assert found.delay == expected
    assert "busy" in found.failure.error


def test_a_snooze_spends_no_attempt():
    """A task can snooze after its last retry too."""
    assert outcome(Snooze("2m", "closed"), attempt=5) == Snoozed(delay=120.0, reason="closed")
    assert outcome(Snooze(1)) == Snoozed(delay=1.0, reason="")


def test_a_rejection_is_a_dead_letter_without_a_traceback():
    """The failure of a rejected task has the reason, and no traceback."""
    found = outcome(Reject("spam"))
    assert isinstance(found, Dead)
    assert (found.reason, found.expected) == (Reason.REJECTED, True)
    assert "spam" in found.failure.error
    assert found.failure.traceback == ""


def test_a_result_that_cannot_be_written_is_the_fault_of_its_cause():
    """The outcome is a dead letter with the error of the cause."""
    error = UnwritableResultError("work")
    error.__cause__ = TypeError("a socket")
    found = outcome(error)
    assert isinstance(found, Dead)
    assert found.reason is Reason.UNSERIALIZABLE_RESULT
    assert found.failure.error == "TypeError: a socket"


def test_a_strategy_of_the_policy_may_end_the_retries():
    """The policy excludes some exceptions, and ends the retries some time after the enqueue."""
    policy = RetryPolicy(
        retry=tenacity.retry_if_exception_type(OSError), stop=tenacity.stop_after_delay(60)
    )
    for error, elapsed, reason in (
        (ValueError(), 0.0, Reason.NOT_RETRYABLE),
        (OSError(), 61.0, Reason.RETRIES_EXHAUSTED),
        (OSError(), 0.0, None),
    ):
        found = outcome(error, policy=policy, elapsed=elapsed)
        assert isinstance(found, Retried if reason is None else Dead)
        assert reason is None or found.reason is reason


@pytest.mark.parametrize("delay", [math.nan, "soon"])
def test_a_wait_that_is_no_duration_ends_the_task(delay):
    """The time of the next run cannot be computed, so the task is a dead letter."""
    for error in (Retry(delay), Snooze(delay)):
        found = outcome(error)
        assert isinstance(found, Dead)
        assert found.reason is Reason.NOT_RETRYABLE
