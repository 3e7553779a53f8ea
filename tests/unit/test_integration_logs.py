"""Task and request in log records, on an in-memory broker."""

import copy
import io
import json
import logging
import logging.config
import pickle
import uuid

import pytest
import structlog

from stem_amqp import Stem
from stem_amqp.integrations.logs import (
    FIELDS,
    JsonFormatter,
    KeyValueFormatter,
    TaskFilter,
    add_task_fields,
)
from stem_amqp.integrations.request_id import request_id
from stem_amqp.worker.report.logs import TextFormatter, task_fields


@pytest.fixture
def stem():
    """Return an application."""
    url = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=url, backend_url=url, namespace="t")


@pytest.fixture
def logger():
    """Yield a logger that writes to a stream of the test."""
    logger = logging.getLogger(f"mine.{uuid.uuid4().hex[:6]}")
    logger.propagate = False
    logger.output = io.StringIO()
    logger.addHandler(logging.StreamHandler(logger.output))
    yield logger
    logger.handlers.clear()


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_task_may_log_with_extra_values_by_the_names_of_the_fields(stem, logger, kind):
    """They take precedence over the task's fields, and raise no KeyError."""
    logger.handlers[0].setFormatter(JsonFormatter())
    extra = {"task_id": "another", "task_name": "other", "request_id": "r-9", "order": 7}

    async def work() -> None:
        logger.warning("look", extra=extra)

    def plain() -> None:
        logger.warning("look", extra=extra)

    task = stem.task("work", queue="q", max_retries=0)(work if kind == "async" else plain)
    async with stem, stem.worker().running():
        await (await task.enqueue()).result(timeout=60)
    line = json.loads(logger.output.getvalue())
    assert {name: line[name] for name in extra} == extra
    assert line["task_attempt"] == 0


async def test_the_standard_library_still_refuses_its_own_names(logger):
    """The errors of the standard library are unchanged."""
    with task_fields(), pytest.raises(KeyError, match="lineno"):
        logger.warning("look", extra={"lineno": 3})  # noqa: G101 - it is the point


def test_a_record_can_be_copied_pickled_and_formatted_by_its_fields(logger):
    """Queue handlers copy records, socket handlers pickle them, and formats name the fields."""
    records = []
    logger.handlers[0].emit = records.append
    with task_fields():
        logger.warning("look", extra={"task_id": "mine"})
    for one in (records[0], copy.copy(records[0]), pickle.loads(pickle.dumps(records[0]))):
        assert [getattr(one, name) for name in FIELDS] == ["mine", None, None, None]
        assert logging.Formatter("%(task_id)s %(message)s").format(one) == "mine look"
    restored = pickle.loads(pickle.dumps(records[0]))
    assert type(vars(restored)) is dict


def test_blocks_may_end_in_the_order_in_which_they_began(logger):
    """Two workers may run in one process; no filter is left behind."""
    handler = logger.handlers[0]
    first, second = task_fields(), task_fields()
    first.__enter__()
    second.__enter__()
    assert len(handler.filters) == 1
    first.__exit__(None, None, None)
    assert len(handler.filters) == 1
    second.__exit__(None, None, None)
    assert handler.filters == []


def test_a_handler_that_was_removed_from_its_logger_keeps_no_filter(logger):
    """An application that configures logging may remove it meanwhile."""
    handler = logger.handlers[0]
    with task_fields():
        logger.removeHandler(handler)
    assert handler.filters == []


async def test_handlers_that_worker_init_adds_write_the_fields(stem, logger):
    """An application may set up its logging in that signal."""
    handler = logging.StreamHandler(logger.output)
    handler.setFormatter(logging.Formatter("%(task_name)s %(message)s"))
    logger.handlers.clear()

    @stem.signals.worker_init.connect()
    def configure(event) -> None:
        logger.addHandler(handler)

    @stem.task("work", queue="q")
    async def work() -> None:
        logger.warning("look")

    async with stem, stem.worker().running():
        await (await work.enqueue()).result(timeout=60)
        logger.warning("outside")
    assert logger.output.getvalue().splitlines() == ["work look", "None outside"]


async def test_what_a_record_factory_knows_comes_before_the_fields(stem, logger):
    """An application's own factory may know the request better."""
    before = logging.getLogRecordFactory()

    def factory(*args, **kwargs):
        record = before(*args, **kwargs)
        record.request_id = "from the factory"
        return record

    logger.handlers[0].setFormatter(logging.Formatter("%(request_id)s %(task_name)s"))
    logging.setLogRecordFactory(factory)

    @stem.task("work", queue="q")
    async def work() -> None:
        logger.warning("look")

    try:
        async with stem, stem.worker().running():
            handle = await work.options(meta={"request_id": "r-1"}).enqueue()
            await handle.result(timeout=60)
    finally:
        logging.setLogRecordFactory(before)
    assert logger.output.getvalue() == "from the factory work\n"


async def test_a_worker_writes_the_request_of_a_task(stem, logger):
    """The request is read from the task's metadata."""
    logger.handlers[0].setFormatter(JsonFormatter())

    @stem.task("work", queue="q")
    async def work() -> None:
        logger.warning("look")

    async with stem, stem.worker().running():
        handle = await work.options(meta={"request_id": "r-1"}).enqueue()
        await handle.result(timeout=60)
        logger.warning("outside")
    inside, outside = map(json.loads, logger.output.getvalue().splitlines())
    assert inside["request_id"] == "r-1"
    assert (inside["task_id"], inside["task_name"]) == (handle.id, "work")
    assert not set(outside) & set(FIELDS)


def test_the_filter_gives_the_request_outside_of_a_worker(logger):
    """A web process uses it, with a configuration by dictionary."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"task": {"()": "stem_amqp.integrations.logs.TaskFilter"}},
        "formatters": {"pairs": {"()": "stem_amqp.integrations.logs.KeyValueFormatter"}},
        "handlers": {
            "own": {
                "class": "logging.StreamHandler",
                "stream": logger.output,
                "filters": ["task"],
                "formatter": "pairs",
            }
        },
        "loggers": {logger.name: {"handlers": ["own"], "level": "INFO"}},
    }
    logging.config.dictConfig(config)
    token = request_id.set("r-1")
    try:
        logger.info("two words", extra={"order": 7, "name_of": 'a "b"\nc', "empty": ""})
    finally:
        request_id.reset(token)
    (line,) = logger.output.getvalue().splitlines()
    assert line.startswith("at=2")
    assert f'level=INFO logger={logger.name} message="two words" order=7' in line
    assert r'name_of="a \"b\"\nc" empty="" request_id=r-1' in line
    assert "task_id" not in line


def test_key_values_are_one_line_with_a_traceback_too():
    """The traceback is a value like the others."""
    try:
        raise ValueError("no")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "broken %s", ("a=b",), info)
    line = KeyValueFormatter().format(record)
    assert 'message="broken a=b"' in line
    assert 'exception="Traceback' in line
    assert "\n" not in line


def test_the_filter_leaves_what_a_record_has_and_text_lines_do_without_it():
    """A value from ``extra`` takes precedence."""
    record = logging.makeLogRecord({"task_id": "mine", "request_id": None})
    assert TaskFilter().filter(record) is True
    assert (record.task_id, record.task_name, record.request_id) == ("mine", None, None)
    assert "mine" in TextFormatter().format(record)


async def test_structlog_events_have_the_fields(stem):
    """In a task they have the task's fields, otherwise the request's; bound values stay."""
    events = []

    def keep(logger, method, event):
        events.append(dict(event))
        raise structlog.DropEvent

    log = structlog.wrap_logger(None, processors=[add_task_fields, keep])

    @stem.task("work", queue="q")
    def work() -> None:
        log.info("inside")
        log.bind(task_id="mine").info("bound")

    async with stem, stem.worker().running():
        handle = await work.options(meta={"request_id": "r-1"}).enqueue()
        await handle.result(timeout=60)
    log.info("outside")
    inside = {"task_id": handle.id, "task_name": "work", "task_attempt": 0, "request_id": "r-1"}
    assert events == [
        {"event": "inside", **inside},
        {"event": "bound", **inside, "task_id": "mine"},
        {"event": "outside"},
    ]
