"""Test the demo as a whole: its account is complete, and it leaves nothing behind."""

import asyncio
import os
import re
import signal
import sys
import uuid
from pathlib import Path

import pytest
from support import eventually

from examples.orders.story import Story
from stem_amqp.settings import Provision

PROJECT = Path(__file__).parents[2]
ORDERS = 60


@pytest.fixture
def namespace():
    """Return a namespace for this test."""
    return f"t-{uuid.uuid4().hex[:8]}"


async def start(broker_url, namespace, *arguments):
    """Start the demo like a user, without a terminal."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STEM_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.orders.demo", "--orders", str(ORDERS)),
        *("--broker", broker_url, "--namespace", namespace, *arguments),
        cwd=PROJECT,
        env=environment | {"COLUMNS": "100"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def left_behind(broker_url, namespace):
    """Return the demo's exchanges and queues that exist on the broker."""
    story = Story(
        broker_url=broker_url,
        origin="",
        namespace=namespace,
        orders=ORDERS,
        seed=1,
        folder=Path("unused"),
    )
    app = story.application(Provision.NONE)
    app.reconfigure(backend_url="memory://")
    async with app:
        entities = app.blueprint.entities
        missing = await app.connected.transport.missing(entities)
        return {one.name for one in (*entities.exchanges, *entities.queues)} - {
            one.name for one in missing
        }


def workers_of(pid):
    """Return the ids of the worker processes that a demo started and that run, also after its end."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().split(b"\0")  # empty for a zombie
        except OSError:
            continue
        if b"examples.orders.watched:stem" in words and b"%d" % pid in words:
            found.append(int(command.parent.name))
    return found


@pytest.mark.timeout(300)
async def test_the_demo_accounts_for_every_order_and_leaves_nothing(broker_url, namespace):
    """Every order is accounted for before the repair and after it."""
    demo = await start(broker_url, namespace, "--seed", "4")
    output = (await demo.communicate())[0].decode()
    assert demo.returncode == 0, output
    closed = f"✓ {ORDERS} in, {ORDERS} accounted for; no payment missing, none made twice."
    assert output.count(closed) == 2
    assert "dead letters replayed at 20/s, byte for byte" in output
    assert "invalid-arguments" in output
    assert re.search(r"1  replayed after the fix", output)
    if broker_url.startswith("amqp"):
        assert "kill -9 worker-2" in output
        assert "worker-3 has taken its place" in output
        assert await left_behind(broker_url, namespace) == set()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
async def test_the_demo_cleans_up_when_it_is_interrupted(broker_url, namespace, number, code):
    """Ctrl-C during the demo leaves no queue and no worker."""
    demo = await start(broker_url, namespace)
    async for line in demo.stdout:
        if b"enqueued" in line:
            break
    assert workers_of(demo.pid)  # of its two workers the demo kills one soon
    demo.send_signal(number)
    rest = (await demo.stdout.read()).decode()
    assert await demo.wait() == code, rest
    assert "Traceback" not in rest
    assert workers_of(demo.pid) == []
    assert await left_behind(broker_url, namespace) == set()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_the_workers_of_a_killed_demo_end_by_themselves(broker_url, namespace):
    """They end when their parent has ended; the next demo of the namespace deletes the queues."""
    demo = await start(broker_url, namespace)
    async for line in demo.stdout:
        if b"enqueued" in line:
            break
    assert workers_of(demo.pid)  # of its two workers the demo kills one soon
    demo.kill()
    await demo.wait()
    await eventually(lambda: not workers_of(demo.pid), "the end of the workers")
    assert await left_behind(broker_url, namespace)
    again = await start(broker_url, namespace)
    await again.communicate()
    assert again.returncode == 0
    assert await left_behind(broker_url, namespace) == set()
