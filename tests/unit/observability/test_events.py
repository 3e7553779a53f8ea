"""Lifecycle events: published while a listener's lease lasts, limited, and filtered by the broker."""

import asyncio
import uuid
from contextlib import aclosing

import orjson
import pytest
from support import eventually

from stem_amqp import Snooze, Stem, TaskContext
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.commands import Report, decode
from stem_amqp.observability.events import CATALOGUE, Filters, LifecycleEvent
from stem_amqp.observability.events import event as event_module
from stem_amqp.observability.events import stream as stream_module
from stem_amqp.topology.routing import topic_matches


def application(**values):
    place = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=place, backend_url=place, **values)


class Listener:
    """Collects the events of an application in the background."""

    def __init__(self, stem, **filters):
        self.stem = stem
        self.events = []
        self._filters = filters

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self):
        async with aclosing(self.stem.events(**self._filters)) as stream:
            async for event in stream:
                self.events.append(event)

    async def until(self, name):
        """Wait for an event of a name, and return the first one."""
        await eventually(lambda: name in self.names(), f"the event {name}")
        return next(event for event in self.events if event.event == name)

    def names(self):
        return [event.event for event in self.events]


async def listened(stem):
    await eventually(lambda: stem.connected.events.listened, "the announcement")


async def test_the_events_of_a_task_are_in_order():
    stem = application()

    @stem.task("orders.sync", max_retries=1, retry={"base": "0.1s", "jitter": 0})
    async def sync(ctx: TaskContext):
        ctx.progress(0.5, message="half")
        if not ctx.attempt:
            raise ValueError("no")

    async with stem, Listener(stem) as listener, stem.worker(name="w").running():
        await listened(stem)
        handle = await sync.enqueue()
        await listener.until("succeeded")
    about = [event for event in listener.events if event.task == "orders.sync"]
    # the worker may receive a message before its producer receives the confirm
    about.sort(key=lambda event: event.event != "published")
    assert [event.event for event in about] == [
        "published", "received", "started", "progress", "retried",
        "received", "started", "progress", "succeeded",
    ]  # fmt: skip
    assert {event.id for event in about} == {handle.id}
    assert {event.queue for event in about} == {"default"}
    assert {event.worker for event in about} == {"w"}
    assert [event.attempt for event in about] == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    retried, succeeded = about[4], about[-1]
    assert (retried.error, retried.exception) == ("ValueError: no", "ValueError")
    assert retried.delay == pytest.approx(0.1)
    assert (about[3].fraction, about[3].message) == (0.5, "half")
    assert succeeded.duration >= 0
    assert about[1].at <= succeeded.at


async def test_the_other_ends_of_a_task_are_events():
    stem = application()

    @stem.task("a.fails", max_retries=0)
    async def fails():
        raise ValueError("x" * 1000)

    @stem.task("b.snoozes")
    async def snoozes(ctx: TaskContext):
        raise Snooze(60, "later")

    async with stem, Listener(stem) as listener, stem.worker(name="w").running():
        await listened(stem)
        await fails.enqueue()
        await snoozes.enqueue()
        failed = await listener.until("failed")
        dead = await listener.until("dead-lettered")
        snoozed = await listener.until("snoozed")
        await snoozes.options(expires=0.001, delay=0.2).enqueue()
        expired = await listener.until("expired")
    assert (failed.reason, failed.exception) == ("retries-exhausted", "ValueError")
    assert len(failed.error) == 300
    assert dead.reason == "retries-exhausted"
    assert (snoozed.reason, snoozed.delay) == ("later", 60)
    assert (expired.task, expired.reason) == ("b.snoozes", "expired")


async def test_events_of_the_worker_reach_every_listener():
    stem = application()
    stem.task("work")(lambda: None)
    async with stem, Listener(stem) as listener, Listener(stem, event="worker-heartbeat") as beats:
        async with stem.worker(name="w").running():
            started = await listener.until("worker-started")
            beat = await beats.until("worker-heartbeat")
        stopping = await listener.until("worker-stopping")
        await listener.until("worker-stopped")
    assert (started.worker, started.task) == ("w", None)
    assert stopping.reason == "end of the block"
    assert beat.heartbeat.name == "w"
    assert "worker-heartbeat" not in listener.names(), "only for those who name it"


async def test_nothing_is_reported_without_a_listener(monkeypatch):
    """The exporter is there only while a lease lasts, and a listener renews its lease."""
    monkeypatch.setattr(stream_module, "RENEWAL", 0.01)
    stem = application()

    @stem.task("work")
    async def work():
        pass

    async with stem, stem.worker(name="w").running():
        telemetry, events = stem.blueprint.telemetry, stem.connected.events
        assert telemetry.exporters == ()
        assert telemetry.received == ()
        events.listen(0.05)
        assert events.listened
        assert len(telemetry.exporters) == 1
        await eventually(lambda: telemetry.exporters == (), "the end of the lease")
        assert not events.listened
        async with Listener(stem) as listener:
            await listened(stem)
            assert len(telemetry.exporters) == 1
            await work.enqueue()
            await listener.until("succeeded")
            first = events._lease_ends
            await eventually(lambda: events._lease_ends > first, "the renewal of the lease")
            assert len(telemetry.exporters) == 1
        assert telemetry.received != ()


async def test_only_the_events_of_a_filter_arrive():
    stem = application()

    @stem.task("orders.sync")
    async def sync():
        pass

    @stem.task("emails.send", queue="mails")
    async def send():
        pass

    async with (
        stem,
        Listener(stem, task="orders.*", event=("started", "succeeded")) as orders,
        Listener(stem, queue="mails") as mails,
        stem.worker(name="w").running(),
    ):
        await listened(stem)
        await sync.enqueue()
        await send.enqueue()
        await orders.until("succeeded")
        await mails.until("succeeded")
    assert [(one.event, one.task) for one in orders.events] == [
        ("started", "orders.sync"),
        ("succeeded", "orders.sync"),
    ]
    assert {one.task for one in mails.events} == {"emails.send"}


async def test_too_many_events_are_dropped_and_counted():
    stem = application()
    stem.reconfigure(events_rate=5)

    @stem.task("work")
    async def work():
        pass

    async with stem, Listener(stem) as listener, stem.worker(name="w").running():
        await listened(stem)
        for _ in range(20):
            await work.enqueue()

        async def counted():
            await work.enqueue()
            return any(event.dropped for event in listener.events)

        await eventually(counted, "an event that counts those before it")


async def test_a_slow_listener_loses_events_and_learns_how_many(monkeypatch):
    monkeypatch.setattr(stream_module, "BUFFER", 3)
    buffer = stream_module._Buffer(Filters())

    class Delivered:
        type = "started"
        body = orjson.dumps({"event": "started", "at": 1, "worker": "w", "task": "t", "dropped": 2})

    for _ in range(5):
        buffer.take(Delivered)
    got = [await buffer.next() for _ in range(3)]
    buffer.take(Delivered)
    assert [event.dropped for event in got] == [2, 2, 2]
    assert (await buffer.next()).dropped == 2 + 2 * 3, "two events, each after two others"


async def test_the_iteration_ends_when_the_application_closes():
    stem = application()

    async def read():
        async for _ in stem.events():
            pass
        return "ended"

    async with stem:
        reading = asyncio.create_task(read())
        await asyncio.sleep(0.01)
    assert await asyncio.wait_for(reading, 60) == "ended"


async def test_a_producer_without_a_worker_reports_its_publishes():
    stem = application()
    stem.reconfigure(events="all")

    @stem.task("orders.sync")
    async def sync():
        pass

    async with stem, Listener(stem) as listener:

        async def announced():
            return stem.connected.events.listened

        await eventually(announced, timeout=60)
        await sync.enqueue()
        published = await listener.until("published")
    assert published.task == "orders.sync"
    assert ":" in published.worker, "the host and the process"


async def test_events_can_be_off():
    stem = application()
    stem.reconfigure(events="off")
    stem.task("work")(lambda: None)
    async with stem, stem.worker(name="w").running():
        assert stem.connected.events is None
        await stem.connected.transport.publish(_announcement(stem))
    assert stem.blueprint.telemetry.exporters == ()


def _announcement(stem):
    from stem_amqp.transport.publication import Publication

    return Publication(exchange=stem.names.control, routing_key="", body=Report(events=30).encode())


def test_an_unknown_event_is_refused():
    with pytest.raises(ConfigurationError, match="did you mean failed"):
        Filters(events=("faild",))


@pytest.mark.parametrize(
    ("filters", "key", "matches"),
    [
        ({"tasks": ("orders.*",)}, "failed.q.orders.sync", True),
        ({"tasks": ("orders.*",)}, "failed.a.b.orders.sync.x", True),
        ({"tasks": ("orders.*",)}, "failed.q.emails.send", False),
        ({"tasks": ("orders.sync",)}, "failed.a.b.orders.sync", True),
        ({"tasks": ("orders.s?nc",)}, "failed.q.orders.sync", True),
        ({"tasks": ("*",)}, "failed.q.x", True),
        ({"queues": ("a.b",), "tasks": ("orders.sync",)}, "failed.a.b.orders.sync", True),
        ({"queues": ("a.b",)}, "failed.a.b.orders.sync", True),
        ({"queues": ("a",)}, "failed.c.orders.sync", False),
        ({"queues": ("a*",)}, "failed.abc.orders.sync", True),
        ({"events": ("failed",)}, "succeeded.q.x", False),
        ({"events": ("failed",)}, "failed.q.x", True),
        ({}, "worker-started.host:1:ab.c", True),
        ({}, "worker-heartbeat.w", False),
        ({"events": ("worker-heartbeat",)}, "worker-heartbeat.host.x:1", True),
        ({"tasks": ("orders.*",)}, "worker-started.orders.x", False),
    ],
)
def test_binding_keys(filters, key, matches):
    """The broker sends all events that a filter wants, and few others."""
    keys = Filters(**filters).keys()
    assert any(topic_matches(one, key) for one in keys) is matches


def test_many_filters_have_a_bounded_number_of_keys():
    keys = Filters(tasks=tuple(f"t{n}" for n in range(1000))).keys()
    assert len(keys) <= len(CATALOGUE)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"event":"started"}', b"x" * 70_000, b'{"event":1,"at":1,"worker":"w"}'],
)
def test_what_is_no_event_is_ignored(body):
    assert event_module.decode(body, "started") is None


def test_fields_of_later_releases_are_ignored():
    body = b'{"event":"started","at":1.5,"worker":"w","later":true}'
    assert event_module.decode(body, "started") == LifecycleEvent(
        event="started", at=1.5, worker="w"
    )


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"command":"report"}', 0),
        (b'{"command":"report","events":30.0}', 30),
        (b'{"command":"report","events":true}', 0),
        (b'{"command":"report","events":"30"}', 0),
        (b'{"command":"report","events":-1}', 0),
    ],
)
def test_the_announcement_of_a_listener(body, seconds):
    assert decode(body) == Report(events=seconds)
