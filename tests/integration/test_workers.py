"""``stem-amqp workers`` and ``running`` on RabbitMQ: processes, their runs, a blocked event loop."""

import pytest
from cli_support import worker
from support import until

SHOP = """
    import asyncio, time
    from stem_amqp import Stem, TaskContext
    stem = Stem(backend_url="memory://")

    @stem.task("orders.sync", queue="orders")
    async def sync(ctx: TaskContext) -> None:
        ctx.progress(0.5, message="page 1\\x1b[31m of 2")
        await asyncio.sleep(60)

    @stem.task("orders.block", queue="orders")
    async def block() -> None:
        print("blocking", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def cli(cli_on_rabbitmq, monkeypatch):
    """Return a command line in a directory with an application."""
    monkeypatch.setenv("STEM_MANAGEMENT_URL", "http://127.0.0.1:1")
    cli_on_rabbitmq.write("shop.py", SHOP)
    return cli_on_rabbitmq


def test_workers_and_their_runs_are_listed(cli):
    """Each answers at once, with what it runs; the texts of others are escaped."""
    with worker(cli, "--name", "front"), worker(cli, "--name", "back", "-c", "3"):
        assert cli("enqueue", "--app", "shop:stem", "orders.sync").code == 0
        until(lambda: cli("running", "shop:stem", "--json").json["runs"], "the run")

        listed = cli("workers", "shop:stem", "--json").json
        assert [one["name"] for one in listed["workers"]] == ["back", "front"]
        assert listed["silent"] == {}
        assert sum(one["running"] for one in listed["workers"]) == 1
        assert [one["capacity"] for one in listed["workers"]] == [{"orders": 3}, {"orders": 10}]

        table = cli("workers", "shop:stem")
        assert table.code == 0
        assert "orders x3" in table.out
        assert "2 workers" in table.err
        assert max(map(len, table.out.splitlines())) <= 80

        runs = cli("running", "shop:stem")
        assert "orders.sync" in runs.out
        assert "\\x1b" in runs.out, "escaped"
        assert "\x1b" not in runs.out
        assert max(map(len, runs.out.splitlines())) <= 80
        other = cli("running", "shop:stem", "--task", "emails.*")
        assert (other.out, other.code) == ("", 0)
        assert "no task runs" in other.err


def test_a_worker_with_a_blocked_event_loop_is_listed_with_the_task(cli, monkeypatch):
    """It cannot answer: a thread of it sends its heartbeats through another connection."""
    monkeypatch.setenv("STEM_HEARTBEAT_INTERVAL", "1s")
    with worker(cli, "--name", "front"):
        task_id = cli("enqueue", "--app", "shop:stem", "orders.block").out.strip()
        until(lambda: "is blocked" in cli.log(), "the warning")
        shown = cli("workers", "shop:stem", "--stacks", "--wait", "20s")
    text = " ".join(shown.out.split())
    assert "blocked" in text
    assert f"by orders.block {task_id}" in text
    assert "time.sleep(60)" in text
    assert "1 worker" in shown.err
    assert cli.log().count("is blocked") == 1, "it is logged once"


def test_no_worker(cli):
    """An empty list is no error."""
    assert cli("topology", "apply", "--app", "shop:stem").code == 0
    shown = cli("workers", "shop:stem")
    assert (shown.out, shown.code) == ("", 0)
    assert "no worker runs" in shown.err
