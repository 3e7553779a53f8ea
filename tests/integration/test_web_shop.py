"""Test a web shop with all its processes, started like by a user, while a worker is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from support import eventually, free_port

from examples.webshop.database import TABLES
from stem_amqp import Stem
from stem_amqp.servers.answer import run_blocking

ROOT = Path(__file__).parents[2]
ORDERS = 60
CENTS = 450
QUEUES = ("payments", "reports")

pytestmark = pytest.mark.timeout(300)


class Shop:
    """The shop's processes.

    Args:
        environment: the variables that name broker and database.
        log: the file of their output.
    """

    def __init__(self, environment, log):
        self._environment = environment
        self._log = log

    @contextmanager
    def running(self, *words):
        """Run a program during the block, and stop it with SIGTERM."""
        with self._log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            # uvicorn shuts down cleanly, and then ends by the signal that it got
            assert code in {0, -signal.SIGTERM}, self._log.read_text()[-3000:]
        finally:
            process.kill()
            process.wait()

    async def run(self, *words):
        """Run a program to its end, and return its output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *words,
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    def ready_workers(self):
        """Return how often a worker has logged that it is ready."""
        return self._log.read_text().count(" is ready: ")


@pytest.fixture
def shop(stem_broker_url, stem_postgres_url, tmp_path):
    """Yield the shop, with a separate namespace and database."""
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    settings = {
        "STEM_BROKER_URL": stem_broker_url,
        "STEM_NAMESPACE": namespace,
        "STEM_BACKEND_URL": stem_postgres_url,
        "SHOP_DATABASE_URL": stem_postgres_url,
    }
    log = tmp_path / "log"
    log.touch()
    cleaned = {k: v for k, v in os.environ.items() if not k.startswith("STEM_")}
    yield Shop(cleaned | settings, log)
    run_blocking(clean_up(stem_broker_url, namespace, stem_postgres_url))


async def clean_up(broker_url, namespace, database_url):
    """Delete the entities that the shop has declared, and its tables."""
    stem = Stem(broker_url=broker_url, namespace=namespace, backend_url="memory://")
    stem.reconfigure(provision="none")
    for queue in QUEUES:
        stem.task(f"clean.{queue}", queue=queue)(lambda: None)
    async with stem:
        await stem.connected.transport.delete(stem.blueprint.entities)
    database = await asyncpg.connect(database_url)
    await database.execute("DROP TABLE shop_payments, shop_orders")
    await database.close()


async def test_every_order_is_paid_once_though_a_worker_is_killed(shop):
    """This holds with an async and a blocking producer, and a worker with two processes."""
    port = str(free_port())
    worker = ["stem_amqp", "worker", "examples.webshop.tasks:stem", "--processes", "2"]
    with (
        shop.running(*worker) as supervisor,
        shop.running("uvicorn", "examples.webshop.web:app", "--port", port),
    ):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await eventually(lambda: answers(client), "the web server")
            await eventually(lambda: shop.ready_workers() >= 2, "two workers")
            first = await asyncio.gather(*map(take_order, [client] * (ORDERS // 2)))
            os.kill(children(supervisor.pid)[0], signal.SIGKILL)
            second = await asyncio.gather(*map(take_order, [client] * (ORDERS // 2)))
            taken = [*first, *second]
            for order in taken:
                await eventually(lambda order=order: paid(client, order), f"{order} paid", 60)
            await eventually(lambda: shop.ready_workers() >= 3, "the killed one's successor")
            found = (await client.get(f"/tasks/{taken[0]['task']}")).json()
            assert found["state"] in {"running", "succeeded"}
        said = await shop.run("examples.webshop.nightly")
        assert f"0 charged now; {ORDERS} payments, {ORDERS * CENTS / 100:.2f} EUR" in said
        health = await shop.run("stem_amqp", "health", "examples.webshop.tasks:stem")
        assert health.endswith("healthy\n")


async def test_the_night_charges_what_the_day_forgot(shop):
    """An order whose request ended between the database and the broker is charged later."""
    database = await asyncpg.connect(shop._environment["SHOP_DATABASE_URL"])
    await database.execute(TABLES)
    await database.execute("INSERT INTO shop_orders (item, cents) VALUES ('tea', 450)")
    await database.close()
    with shop.running("stem_amqp", "worker", "examples.webshop.tasks:stem"):
        said = await shop.run("examples.webshop.nightly")
    assert "1 charged now; 1 payments, 4.50 EUR" in said


async def answers(client):
    """Return whether the web server answers."""
    try:
        return (await client.get("/orders/0")).status_code == 404
    except httpx.TransportError:
        return False


async def take_order(client):
    """Place an order, and return the response."""
    response = await client.post("/orders", json={"item": "tea", "cents": CENTS})
    assert response.status_code == 202, response.text
    return response.json()


async def paid(client, order):
    """Return whether an order is paid."""
    return (await client.get(f"/orders/{order['order']}")).json()["paid"]


def children(pid):
    """Return the process ids of a process' children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
