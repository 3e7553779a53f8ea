"""A task that failed for good is an ERROR with its traceback, and an expected end is not."""

import io
import json
import logging
import uuid

import pytest

from stem_amqp import Reject, Stem, TaskFailedError
from stem_amqp.messages.message import TaskMessage
from stem_amqp.outcome import Dead, Failure
from stem_amqp.states import Reason
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.failure_log import (
    REFUSALS_LOGGED,
    FailureLog,
    ProcessRunError,
    exception_of,
)
from stem_amqp.worker.report.logs import JsonFormatter, TextFormatter
from stem_amqp.worker.running.failure import failure_of

LOGGER = "stem_amqp.worker.failures"


class CardDeclinedError(Exception):
    pass


@pytest.fixture
def stem():
    """Return an application."""
    place = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=place, backend_url=place)


def job(**fields):
    message = TaskMessage(id="t-1", task="orders.sync", args={}, meta={"request_id": "r-7"})
    headers = {"stem-attempt": 2}
    return Job(body=b"", headers=headers, queue="orders", **{"message": message, **fields})


def dead(failure, reason=Reason.RETRIES_EXHAUSTED, **fields):
    return Dead(reason=reason, failure=failure, **fields)


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return failure_of(caught)


def written(caplog, outcome, one=None):
    """Return the record of a dead letter."""
    caplog.set_level(logging.DEBUG)
    FailureLog().note(one or job(), outcome)
    (record,) = [record for record in caplog.records if record.name == LOGGER]
    return record


async def end(stem, task):
    async with stem, stem.worker().running():
        with pytest.raises(TaskFailedError):
            await (await task.options(meta={"request_id": "r-7"}).enqueue()).result(timeout=60)


async def test_the_record_has_the_exception_and_the_fields_of_the_task(stem, caplog):
    """The outcome is settled after the run, so the fields come from the message."""

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync() -> None:
        raise ValueError("no such order")

    await end(stem, sync)
    (record,) = [one for one in caplog.records if one.name == LOGGER]
    assert record.levelno == logging.ERROR
    assert isinstance(record.exc_info[1], ValueError)
    assert record.exc_info[2] is not None
    fields = (record.task_name, record.task_attempt, record.request_id)
    assert fields == ("orders.sync", 0, "r-7")
    assert record.task_id in record.getMessage()
    assert "retries-exhausted" in record.msg  # trackers group by the template


@pytest.mark.parametrize("kind", ["rejected", "declared"])
async def test_an_expected_end_is_a_line_at_info_without_a_traceback(stem, caplog, kind):
    """The line still has the task's fields and the reason."""
    caplog.set_level(logging.INFO)
    error = Reject("sold out") if kind == "rejected" else CardDeclinedError("4111")

    @stem.task("orders.pay", queue="orders", expected=CardDeclinedError)
    async def pay() -> None:
        raise error

    await end(stem, pay)
    (record,) = [one for one in caplog.records if one.name == LOGGER]
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    assert (record.task_name, record.request_id) == ("orders.pay", "r-7")
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("reason", [Reason.EXPIRED, Reason.WORKER_FAILED])
def test_an_expired_task_and_one_that_is_an_error_already_are_warnings(caplog, reason):
    """The work is not done; but no code of the task failed."""
    record = written(caplog, dead(raised(ValueError("no")), reason))
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)


def test_a_run_in_another_process_has_its_traceback_as_a_note(caplog):
    """Only the text crosses the boundary of the process."""
    failure = raised(CardDeclinedError("4111"))
    sent = Failure(error=failure.error, traceback=failure.traceback)
    record = written(caplog, dead(sent))
    error = record.exc_info[1]
    assert isinstance(error, ProcessRunError)
    assert str(error) == failure.error
    assert "in raised" in error.__notes__[0]


def test_a_dead_letter_without_an_exception_has_no_traceback(caplog):
    """For example a task that the worker does not know; it is an ERROR too."""
    record = written(caplog, dead(Failure(error="no task 'x'"), Reason.UNKNOWN_TASK))
    assert (record.levelno, record.exc_info) == (logging.ERROR, None)


def test_an_unread_message_has_no_fields_of_a_task(caplog):
    """Its properties are not verified."""
    unread = job(message=None, correlation_id="forged")
    record = written(caplog, dead(Failure(error="no JSON"), Reason.UNDECODABLE), unread)
    assert not hasattr(record, "task_id")


def test_the_lines_about_refused_messages_are_limited(caplog):
    """Any client that may publish can cause them."""
    log = FailureLog()
    outcome = dead(Failure(error="no key"), Reason.SIGNATURE_INVALID)
    for _ in range(3 * REFUSALS_LOGGED):
        log.note(job(message=None, untrusted=True), outcome)
    lines = [record for record in caplog.records if record.name == LOGGER]
    assert len(lines) == REFUSALS_LOGGED
    assert {record.levelno for record in lines} == {logging.ERROR}


class UnreadableError(Exception):
    def __str__(self):
        raise SystemExit(7)


def test_an_exception_that_cannot_be_read_is_a_line_without_it(caplog):
    """A handler that reads it fails, and the outcome is settled all the same."""
    failure = raised(UnreadableError())
    handler = logging.StreamHandler(io.StringIO())
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    try:
        FailureLog().note(job(), dead(failure))
    finally:
        logger.removeHandler(handler)
    assert "is dead-lettered to orders.dlq" in handler.stream.getvalue()


def test_an_exception_with_a_long_chain_is_only_its_text():
    """Formatting such a chain takes seconds, or never ends."""
    error = ValueError("last")
    inner = error
    for _ in range(500):
        inner.__context__ = inner = ValueError("one more")
    found = exception_of(failure_of(error))
    assert isinstance(found, ProcessRunError)
    assert "more than 100 chained exceptions" in found.__notes__[0]


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
async def test_both_formats_show_the_traceback_from_the_task_on(stem, formatter):
    """The frames between the worker and the task's function are left out."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(formatter)
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync() -> None:
        raise ValueError("no such order")

    try:
        await end(stem, sync)
    finally:
        logger.removeHandler(handler)
    text = handler.stream.getvalue()
    assert "in sync" in text
    assert "/worker/running/" not in text
    if isinstance(formatter, JsonFormatter):
        line = json.loads(text)
        assert (line["level"], line["task_name"], line["request_id"]) == (
            "ERROR", "orders.sync", "r-7",
        )  # fmt: skip
        assert line["exception"].endswith("ValueError: no such order")
    else:
        lines = text.splitlines()
        assert lines[-1] == "    ValueError: no such order"
        assert lines[0].endswith("retries-exhausted: ValueError: no such order")


async def test_signals_say_whether_the_end_was_expected(stem):
    """A listener that alerts can leave expected ends out."""
    seen = []

    @stem.signals.task_failed.connect()
    @stem.signals.task_dead_lettered.connect()
    def note(event) -> None:
        seen.append((event.signal, event.fields["expected"]))

    @stem.task("orders.pay", queue="orders", expected=CardDeclinedError)
    async def pay() -> None:
        raise CardDeclinedError("4111")

    await end(stem, pay)
    assert seen == [("task-failed", True), ("task-dead-lettered", True)]
