"""A sample of malformed messages on RabbitMQ, with properties that only other clients write."""

import asyncio
import contextlib
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import BODIES, PROPERTIES, fuzzed
from support import eventually

from stem_amqp import Stem
from stem_amqp.dead_letter import ALL, DeadLetters
from stem_amqp.errors import UnwritableError
from stem_amqp.messages.message import ERROR, REASON, TRACEBACK
from stem_amqp.states import Reason
from stem_amqp.transport.amqp import content, properties
from stem_amqp.transport.amqp.table import write_table
from stem_amqp.transport.publication import Publication

pytestmark = [pytest.mark.timeout(450), pytest.mark.rabbitmq]

REASONS = {reason.value for reason in Reason}
TASK = b'{"v":1,"id":"t-1","task":"work","args":{}}'


class Raw(dict):
    """A table of headers as bytes, which bypasses our checks."""

    def __init__(self, entries=b"", *, raw=None):
        super().__init__({"raw": True})
        self.raw = struct.pack(">I", len(entries)) + entries if raw is None else raw


def entry(value, name=b"n"):
    """Return the bytes of one header."""
    return bytes((len(name),)) + name + value


def sized(kind, data):
    """Return the bytes of a value, preceded by its size."""
    return kind + struct.pack(">I", len(data)) + data


def nested(levels):
    """Return the bytes of nested tables."""
    data = b""
    for _ in range(levels):
        data = entry(sized(b"F", data))
    return data


@pytest.fixture
def raw_frames(monkeypatch):
    """Let tests write properties that our own client never writes."""

    def table(headers):
        return headers.raw if isinstance(headers, Raw) else write_table(headers)

    def short(name, value):
        data = value.encode(errors="surrogateescape")
        return bytes((len(data),)) + data

    monkeypatch.setattr(properties, "write_table", table)
    for module in (content, properties):
        monkeypatch.setattr(module, "write_short", short)


@pytest.fixture
def app(make_stem):
    """Return an application with a task that returns, and one that fails with a large traceback."""
    app = make_stem(backend_url="memory://malformed")

    @app.task("work", queue="work")
    async def work(**given) -> int:
        return 1

    @app.task("fails", queue="work", max_retries=0)
    async def fails(**given) -> None:
        raise ValueError("😀" * 20_000)

    return app


@pytest.fixture
def broker_url(stem_broker_url):
    """Return the URL of RabbitMQ only: the in-memory broker has no frames."""
    return stem_broker_url


def lost_connections(app):
    """Return the worker's log records about lost connections."""
    lost = []
    app.signals.worker_connection_lost.connect()(lambda event: lost.append(event.fields))
    return lost


async def send(app, body, **message):
    """Publish to the work queue; return False if AMQP itself cannot carry the message."""
    names = app.names
    try:
        await app.connected.transport.publish(
            Publication(exchange=names.tasks, routing_key="work", body=body, **message)
        )
    except UnwritableError:
        return False
    return True


STRANGE = {
    "deep": Raw(nested(3000)),
    "no UTF-8": Raw(entry(sized(b"S", b"\xff\xfe")) + entry(b"V", name=b"\xff")),
    "late": Raw(entry(b"T" + b"\xff" * 8) + entry(b"T" + b"\x7f" + b"\xff" * 7, name=b"m")),
    "decimals": Raw(entry(b"D\xff\xff\xff\xff\xff") + entry(b"D\x00\x7f\xff\xff\xff", name=b"m")),
    "numbers": Raw(entry(b"d\x7f\xef" + b"\xff" * 6) + entry(b"l\x80" + b"\0" * 7, name=b"m")),
    "bytes": Raw(entry(sized(b"x", bytes(range(256))))),
    "list of odd": Raw(entry(sized(b"A", b"V" + sized(b"S", b"\xff") + sized(b"x", b"\0")))),
    "twice": Raw(entry(b"t\x01") + entry(b"t\x00")),
    "long": Raw(entry(sized(b"S", b"\xf0\x9f\x98\x80" * 31_000))),
    "ours": Raw(
        entry(sized(b"F", b""), name=b"stem-attempt")
        + entry(sized(b"A", sized(b"S", b"\xff" * 9)), name=b"stem-history")
        + entry(sized(b"S", b"\xff" * 9), name=b"stem-not-before")
    ),
}  # fmt: skip


@pytest.mark.parametrize("headers", STRANGE.values(), ids=STRANGE.keys())
async def test_strange_headers_harm_no_connection(app, raw_frames, headers):
    """The task runs, and a failed one and an unreadable body are readable dead letters."""
    lost = lost_connections(app)
    async with app, app.worker(["work"]).running() as worker:
        for body in (TASK, TASK.replace(b"work", b"fails"), b"\xff"):
            assert await send(app, body, headers=headers, type="\udcff", content_type="\udcfe")
        await eventually(lambda: worker.statistics().done == 3, "all settled")
        assert await send(app, TASK), "the connection still publishes"
        await eventually(lambda: worker.statistics().done == 4, "the next one")
        letters = await eventually(lambda: two_letters(app), "both dead letters")
        assert {letter.headers[REASON] for letter in letters} == {
            "undecodable",
            "retries-exhausted",
        }
        report = await DeadLetters(app, "work").replay(ALL)
        assert (report.failed, lost) == (0, [])


async def two_letters(app):
    """Return the dead letters, once there are two."""
    letters = await DeadLetters(app, "work").list()
    return letters if len(letters) == 2 else None


@pytest.mark.parametrize("frame_max", [4096, 16384, 131072])
async def test_a_dead_letter_fits_into_one_frame_of_any_size(app, monkeypatch, frame_max):
    """A traceback of 4-byte characters, ten earlier failures and foreign headers are cut to fit."""
    from stem_amqp.transport.amqp.link import Link

    agreed = Link.frame_max.fget
    monkeypatch.setattr(Link, "frame_max", property(lambda link: min(agreed(link), frame_max)))
    lost = lost_connections(app)
    headers = {"stem-history": ["é" * 300] * 12, "mine": "x" * (frame_max // 3)}
    async with app, app.worker(["work"]).running() as worker:
        assert app.connected.transport.largest_headers == frame_max - 1664
        assert await send(app, TASK.replace(b"work", b"fails"), headers=headers)
        await eventually(lambda: worker.statistics().done == 1, "settled")
        (letter,) = await eventually(lambda: DeadLetters(app, "work").list(), "the dead letter")
    table = write_table(letter.headers)
    assert len(table) <= frame_max - 1664
    assert letter.headers[REASON] == "retries-exhausted"
    assert "ValueError: 😀" in letter.headers[ERROR]
    assert len(letter.headers[ERROR].encode()) <= 1024
    assert len(letter.headers.get(TRACEBACK, "").encode()) <= 8192
    assert (TRACEBACK in letter.headers) == (frame_max > 4096)
    assert lost == []


def test_a_sample_of_malformed_messages_on_rabbitmq(broker_url, raw_frames, stem_namespace):
    """They are some hundred of the thousands of cases for the in-memory broker."""
    app = Stem(broker_url=broker_url, backend_url="memory://sample", namespace=stem_namespace.name)
    app.reconfigure(unknown_task_wait=0)

    @app.task("work", queue="work")
    async def work(**given) -> int:
        return 1

    ran, lost = Counter(), lost_connections(app)
    app.signals.task_succeeded.connect()(lambda event: ran.update(["ran"]))
    messages = st.builds(lambda body, rest: {"body": body, **rest}, BODIES, PROPERTIES)

    async def judge(worker, batch):
        transport, names = app.connected.transport, app.names
        done = worker.statistics().done
        ran.clear()
        sent = [message["body"] for message in batch if await send(app, **message)]
        await eventually(lambda: worker.statistics().done >= done + len(sent), "all settled")
        await eventually(accounted(len(sent)), "a fate for each", 60)
        letters = await DeadLetters(app, "work").list(limit=None)
        assert {letter.headers.get(REASON) for letter in letters} <= REASONS
        assert Counter(letter.body for letter in letters) <= Counter(sent)
        for queue in (names.dlq("work"), *names.delay_queues()):
            await transport.purge(queue)
        return len(sent)

    def accounted(count):
        async def look():
            names = app.names
            queues = [names.dlq("work"), names.work("work"), *names.delay_queues()]
            status = await app.connected.transport.status(queues)
            assert ran["ran"] <= count

            return ran["ran"] + sum(one.ready for one in status.values()) == count

        return look

    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def start():
            await stack.enter_async_context(app)
            entities = app.blueprint.entities
            stem_namespace.exchanges.update(e.name for e in entities.exchanges)
            stem_namespace.queues.update(q.name for q in entities.queues)
            return await stack.enter_async_context(app.worker(["work"]).running())

        worker, cases = runner.run(start()), 0

        @fuzzed(16)
        @given(st.lists(messages, min_size=25, max_size=25))
        def run(batch):
            nonlocal cases
            cases += runner.run(judge(worker, batch))

        try:
            run()
        finally:
            runner.run(stack.aclose())
    assert cases >= 300
    assert lost == []
