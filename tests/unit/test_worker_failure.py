"""The description of an exception never fails, whatever the exception is."""

import time
import tracemalloc

import pytest

from stem_amqp import Retry, Snooze, Stem
from stem_amqp.errors import (
    ArgumentsError,
    ConfigurationError,
    DecodeError,
    UnknownTaskError,
    UnwritableError,
)
from stem_amqp.messages.message import ERROR_LIMIT, TRACEBACK_LIMIT
from stem_amqp.outcome import Dead, Retried, Snoozed
from stem_amqp.retry import DEFAULT_POLICY, RetryPolicy
from stem_amqp.states import Reason
from stem_amqp.worker.classify import LONGEST_DELAY, classify
from stem_amqp.worker.running.failure import describe, failure_of


class MuteError(Exception):
    def __str__(self):
        raise ValueError("no text")


class QuittingError(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class NoTextError(Exception):
    def __str__(self):
        return 7  # noqa: PLE0307


class Odd(type):
    def __getattribute__(cls, name):
        raise KeyError(name)


class OfOddClassError(Exception, metaclass=Odd):
    pass


class UnlinkedError(Exception):
    @property
    def __cause__(self):
        raise RuntimeError("no cause")

    @property
    def __traceback__(self):
        raise RuntimeError("no traceback")


class PretenderError(Exception):
    @property
    def __class__(self):
        raise RuntimeError("no class")


class Text(str):
    __slots__ = ()

    def __format__(self, spec):
        raise RuntimeError("not to be formatted")

    def encode(self, *arguments):
        raise RuntimeError("not to be encoded")


class TextualError(Exception):
    def __str__(self):
        return Text("a text")


def in_a_circle():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def chain(length):
    error = ValueError("the first")
    for number in range(length):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    return error


def nested(depth):
    error = ValueError("inmost")
    for _ in range(depth):
        error = ExceptionGroup("around", [error])
    return error


def noted():
    error = ValueError("noted")
    error.__notes__ = 7
    return error


ODD = {
    "syntax-error": SyntaxError("bad", ("page.html", 3, "column 7", "{%")),
    "no-text": MuteError("x"),
    "quits-when-shown": QuittingError(),
    "text-of-another-type": NoTextError(),
    "text-of-a-subclass": TextualError(),
    "odd-metaclass": OfOddClassError("x"),
    "no-links": UnlinkedError("x"),
    "no-class": PretenderError("x"),
    "circle": in_a_circle(),
    "surrogates": ValueError("\udcff" * 3),
    "nul": ValueError("\0"),
    "notes": noted(),
    "stop-iteration": StopIteration(object()),
    "generator-exit": GeneratorExit(),
    "long-name": type("N" * 100_000, (Exception,), {})("x"),
    "unicode-error": UnicodeDecodeError("utf-8", b"\xff" * 1000, 0, 1, "bad"),
}
LARGE = {
    "long-chain": lambda: chain(20_000),
    "deep-group": lambda: nested(3000),
    "wide-group": lambda: BaseExceptionGroup("wide", [KeyboardInterrupt(n) for n in range(50_000)]),
    "long-text": lambda: ValueError("x" * 20_000_000),
}


@pytest.fixture
def definition():
    stem = Stem(broker_url="memory://failure")
    stem.task("t")(lambda: None)
    return stem.registry["t"]


def decide(definition, error, policy=DEFAULT_POLICY, attempt=0):
    return classify(
        error, attempt=attempt, max_retries=3, policy=policy, definition=definition, elapsed=0.0
    )


@pytest.mark.parametrize("name", [*ODD, *LARGE])
def test_whatever_is_raised_becomes_a_failure(definition, name):
    """Its text fits into a header, takes little time, and it is retried like any other."""
    error = LARGE[name]() if name in LARGE else ODD[name]
    begun = time.process_time()
    outcome = decide(definition, error)
    assert time.process_time() - begun < 5
    assert isinstance(outcome, Retried | Dead)
    failure = outcome.failure
    assert 0 < len(failure.error.encode()) <= ERROR_LIMIT
    assert 0 < len(failure.traceback.encode()) <= TRACEBACK_LIMIT
    assert describe(error) in failure.error


def test_the_text_of_an_error_is_kept_without_its_traceback():
    """A syntax error with an invalid position still has its message and frames."""
    try:
        raise ODD["syntax-error"]
    except SyntaxError as error:
        failure = failure_of(error)
    assert failure.error == "SyntaxError: bad (page.html, line 3)"
    assert "test_the_text_of_an_error_is_kept" in failure.traceback


def test_a_long_chain_takes_little():
    """The last exception is shown, with a note on the others."""
    error = chain(20_000)
    tracemalloc.start()
    failure = failure_of(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert "more than 100 chained exceptions" in failure.traceback


@pytest.mark.parametrize("wait", [1e30, "100000000d"])
def test_waits_beyond_any_date_are_cut(definition, wait):
    """The store writes the date of the next run."""
    outcome = decide(definition, Snooze(wait))
    assert isinstance(outcome, Snoozed)
    assert outcome.delay == LONGEST_DELAY


@pytest.mark.parametrize(
    "error",
    [
        Snooze("nonsense"),
        Snooze(-1),
        Snooze(None),
        Snooze(float("inf")),
        Retry(float("nan")),
        Retry(object()),
    ],
    ids=repr,
)
def test_what_is_asked_for_in_nonsense_is_a_failure(definition, error):
    """The failure is that of the task, not of the worker."""
    outcome = decide(definition, error)
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.NOT_RETRYABLE
    assert "the retry rules failed" in outcome.failure.error


@pytest.mark.parametrize(
    "raised", [KeyError("x"), SystemExit(1), KeyboardInterrupt(), StopIteration()]
)
def test_a_retry_strategy_that_fails_ends_the_task(definition, raised):
    """This holds for any error of the strategy."""

    def broken(_state):
        raise raised

    outcome = decide(definition, ValueError("x"), RetryPolicy(retry=broken))
    assert isinstance(outcome, Dead)
    assert outcome.failure.error.startswith("ValueError: x (")


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("x"),
        UnknownTaskError("x"),
        ArgumentsError("x"),
        DecodeError("x", b""),
        UnwritableError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_every_run_would_meet_again_is_not_retried(definition, error):
    """Only the task's options can make it retry."""
    outcome = decide(definition, error)
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.NOT_RETRYABLE
    stem = Stem(broker_url="memory://failure")
    stem.task("t", retry_on=type(error))(lambda: None)
    assert isinstance(decide(stem.registry["t"], error), Retried)
