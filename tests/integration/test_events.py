"""Lifecycle events on each broker: from other processes, after a lost connection, on the command line."""

import asyncio
from contextlib import aclosing

import orjson
import pytest
from cli_support import worker
from support import eventually, until

SHOP = """
    from stem_amqp import Stem
    stem = Stem(backend_url="memory://")

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(fail: bool = False) -> None:
        if fail:
            raise ValueError("no\\x1b[31m")
"""


async def test_events_arrive_from_another_application(make_stem):
    """A listener that has no worker of its own receives the events of the namespace."""
    stem, other = make_stem(backend_url="memory://"), make_stem(backend_url="memory://")

    @stem.task("orders.sync")
    async def sync():
        pass

    seen = []

    async def read():
        async with aclosing(
            other.events(task="orders.*", event=("started", "succeeded"))
        ) as events:
            async for event in events:
                seen.append(event)
                if event.event == "succeeded":
                    return

    async with stem, other, stem.worker(name="w").running():
        reading = asyncio.create_task(read())
        await eventually(lambda: stem.connected.events.listened)
        handle = await sync.enqueue()
        await asyncio.wait_for(reading, 60)
    assert [(event.event, event.id) for event in seen] == [
        ("started", handle.id),
        ("succeeded", handle.id),
    ]


@pytest.fixture
def cli(cli_on_rabbitmq):
    """Return a command line in a directory with an application."""
    cli_on_rabbitmq.write("shop.py", SHOP)
    return cli_on_rabbitmq


def test_the_command_follows_events_until_it_is_interrupted(cli):
    """It prints a line for each, escaped; an interrupt is its regular end."""
    with worker(cli, "--name", "w"), cli.process("events", "shop:stem", "--json") as process:
        log = cli.folder / "log.txt"

        def lines():
            written = log.read_text().rpartition("\n")[0]  # without a line that is being written
            found = [line for line in written.splitlines() if line.startswith("{")]
            return [orjson.loads(line) for line in found]

        def failed():
            cli("enqueue", "--app", "shop:stem", "orders.sync", "--args", '{"fail": true}')
            return [line for line in lines() if line["event"] == "failed"]

        event = until(failed, "the event")[0]
        process.send_signal(2)
        assert process.wait(timeout=60) == 0
    assert event["task"] == "orders.sync"
    assert event["worker"] == "w"
    assert event["reason"] == "retries-exhausted"
    assert event["error"] == "ValueError: no\x1b[31m"
    assert "\x1b" not in log.read_text(), "JSON has escapes"


def test_a_mistake_in_a_filter_is_reported(cli):
    """The message names the event that was meant."""
    wrong = cli("events", "shop:stem", "--event", "faild")
    assert wrong.code == 2
    assert "did you mean failed" in wrong.err


def test_the_command_ends_after_a_time(cli):
    """Without events it prints nothing."""
    assert cli("topology", "apply", "--app", "shop:stem").code == 0
    ended = cli("events", "shop:stem", "--for", "100ms")
    assert (ended.code, ended.out) == (0, "")
