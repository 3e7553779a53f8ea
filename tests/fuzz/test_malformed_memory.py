"""Any message is run, postponed or dead-lettered with a reason, and stops no worker.

A long random run: ``STEM_TEST_FUZZ=20000 pytest tests/fuzz``.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import BATCH, BODIES, PROPERTIES, TEXTS, fuzzed, spoilt
from support import eventually

from stem_amqp import Stem, TaskContext
from stem_amqp.dead_letter import DeadLetters
from stem_amqp.errors import UnwritableError
from stem_amqp.messages.message import REASON
from stem_amqp.states import Reason
from stem_amqp.transport.memory.clock import ManualClock
from stem_amqp.transport.publication import Publication

pytestmark = pytest.mark.timeout(600)

REASONS = {reason.value for reason in Reason}
RETURNED = "task-succeeded"


class OddError(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise ValueError


def tasks_of(app):
    """Add tasks to an application that fail in every way."""

    @app.task("work", queue="work")
    async def work(**given: Any) -> int:
        return len(given)

    @app.task("typed", queue="work", max_age="1h")
    async def typed(ctx: TaskContext, order_id: str, count: int = 1) -> Any:
        return [order_id, count]

    @app.task("fails", queue="work")
    async def fails(**given: Any) -> None:
        raise ValueError("\udcff" + "😀" * 3000)

    @app.task("odd", queue="work", max_retries=1)
    async def odd(**given: Any) -> None:
        raise OddError

    @app.task("snoozes", queue="work")
    async def snoozes(ctx: TaskContext, a: Any = None) -> None:
        ctx.snooze(a if isinstance(a, (int, float)) and a >= 0 else 1e300)


class Repeats(logging.Filter):
    """A counter of the messages that the worker logs as copies of one that was processed."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self._log = logging.getLogger("stem_amqp.worker")
        self._failures = logging.getLogger("stem_amqp.worker.failures")

    def filter(self, record):
        """Let only errors pass that are not about a dead letter."""
        self.count += record.msg.startswith("%s is a repeated delivery")
        return record.levelno >= logging.ERROR and " dead-lettered to " not in record.msg

    def __enter__(self):
        self._level = self._log.level
        self._log.setLevel(logging.INFO)
        self._log.addFilter(self)
        self._failures.addFilter(self)
        return self

    def __exit__(self, *_):
        self._log.removeFilter(self)
        self._failures.removeFilter(self)
        self._log.setLevel(self._level)


class Field:
    """A worker on an in-memory broker whose clock stands still, and the outcomes of messages."""

    def __init__(self, backend_url):
        self.app = Stem(
            broker_url=f"memory://{uuid.uuid4().hex}",
            backend_url=backend_url,
            namespace="f",
            clock=ManualClock(),
        )
        self.app.reconfigure(unknown_task_wait=0)
        tasks_of(self.app)
        self.cases = 0
        self.repeats = Repeats()
        self.seen = Counter()
        self.outcomes = Counter()
        for name in ("task-received", RETURNED):
            self.app.signals[name].connect()(lambda event: self.seen.update([event.signal]))

    @contextlib.contextmanager
    def working(self):
        """Run the worker during a block."""
        with asyncio.Runner() as self.runner, self.repeats:
            stack = contextlib.AsyncExitStack()
            self.runner.run(self._start(stack))
            try:
                yield self
            finally:
                self.runner.run(stack.aclose())

    async def _start(self, stack):
        await stack.enter_async_context(self.app)
        self.worker = await stack.enter_async_context(
            self.app.worker(["work"], concurrency=5, prefetch=10).running()
        )

    def judge(self, messages):
        """Send messages, and check that each has exactly one outcome."""
        self.runner.run(asyncio.wait_for(self._judge(messages), 60))

    async def _judge(self, messages):
        transport, names = self.app.connected.transport, self.app.names
        broker, sent, done = transport.broker, [], self.worker.statistics().done
        self.seen.clear()
        self.repeats.count = 0
        for message in messages:
            publication = Publication(exchange=names.tasks, routing_key="work", **message)
            with contextlib.suppress(UnwritableError):
                await transport.publish(publication)
                sent.append(publication.body)
        settled = done + len(sent)
        await eventually(lambda: self.worker.statistics().done >= settled, "all settled", 60)
        dead = broker.messages(names.dlq("work"))
        delayed = [m for q in names.delay_queues() for m in broker.messages(q)]
        fate = Counter(dead=len(dead), delayed=len(delayed), returned=self.seen[RETURNED])
        fate["repeated"] = self.repeats.count
        assert fate.total() == len(sent), fate
        assert self.worker.statistics().done == settled
        assert self.seen["task-received"] == len(sent), "delivered once"
        assert broker.messages(names.work("work")) == []
        assert {letter.headers.get(REASON) for letter in dead} <= REASONS
        assert Counter(m.body for m in (*dead, *delayed)) <= Counter(sent)
        letters = await DeadLetters(self.app, "work").list()
        assert len(letters) == len(dead)
        self.cases += len(sent)
        self.outcomes += fate + Counter(letter.headers[REASON] for letter in dead)
        for queue in (names.dlq("work"), *names.delay_queues()):
            await transport.purge(queue)


@pytest.fixture(params=["memory", "sqlite", "rpc"])
def field(request, tmp_path, caplog):
    """Yield a worker with each kind of result backend."""
    caplog.set_level(logging.ERROR, logger="stem_amqp")
    urls = {
        "memory": f"memory://{uuid.uuid4().hex}",
        "sqlite": f"sqlite:///{tmp_path}/results.db",
        "rpc": "rpc://",
    }
    with Field(urls[request.param]).working() as working:
        yield working
    assert {record.getMessage()[:200] for record in caplog.get_records("call")} == set(), (
        "surprises"
    )


def batches(**parts):
    """Return many messages at once."""
    return st.lists(st.fixed_dictionaries(parts), min_size=BATCH, max_size=BATCH)


def judged(field, examples, messages):
    """Judge a number of examples, and check that nearly all of them could be sent."""

    @fuzzed(examples)
    @given(messages)
    def run(batch):
        field.judge(batch)

    run()
    assert field.cases >= examples * BATCH * 0.9


def test_bodies_of_any_kind(field):
    """The bodies are bytes, JSON of any shape, and task messages that are cut or damaged."""
    judged(field, 80, batches(body=BODIES))
    assert field.outcomes["undecodable"] > field.cases / 5


def test_task_messages_with_spoilt_fields(field):
    """Nearly valid messages reach the most code of the worker."""
    judged(field, 80, batches(body=spoilt()))
    assert {"returned", "delayed", "unknown-task", "invalid-arguments"} <= set(field.outcomes)


def test_properties_and_headers_of_any_kind(field):
    """They include our headers with invalid values, forged deaths, tables, bytes and large ones."""
    messages = st.builds(lambda body, rest: {"body": body, **rest}, BODIES, PROPERTIES)
    judged(field, 60, st.lists(messages, min_size=BATCH, max_size=BATCH))


def test_arguments_of_any_kind_end_clearly_where_they_are_enqueued(field):
    """An argument is accepted, or refused with a `StemError`."""
    from stem_amqp.errors import StemError

    async def enqueue(value):
        with contextlib.suppress(StemError):
            await field.app.enqueue("work", {"a": value}, ignore_result=True)
            return 1
        return 0

    loop = []
    loop.append(loop)
    deep = []
    for _ in range(300):
        deep = [deep]
    values = st.sampled_from(
        [
            loop,
            deep,
            {"a": loop},
            "\ud800",
            {"\ud800": 1},
            2**64,
            -(2**63) - 1,
            b"\xff",
            {1},
            object(),
        ]
    ) | st.recursive(
        TEXTS | st.floats() | st.integers() | st.binary(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers() | TEXTS, inner),
        max_leaves=5,
    )
    taken = 0

    @fuzzed(300)
    @given(values)
    def run(value):
        nonlocal taken
        taken += field.runner.run(enqueue(value))

    run()
    assert taken
