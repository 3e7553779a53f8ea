"""``stem-amqp control`` on RabbitMQ: processes answer, are shut down, and are not restarted."""

import pytest
from cli_support import worker
from support import until

SHOP = """
    from stem_amqp import Stem
    stem = Stem(backend_url="memory://")

    @stem.task("orders.sync", queue="orders", time_limit="30s")
    async def sync(token: str = "") -> None:
        pass
"""


@pytest.fixture
def cli(cli_on_rabbitmq, monkeypatch):
    """Return a command line in a directory with an application."""
    monkeypatch.setenv("STEM_HEARTBEAT_INTERVAL", "59s")  # commands wait a second longer
    cli_on_rabbitmq.write("shop.py", SHOP)
    return cli_on_rabbitmq


def test_processes_answer_and_are_shut_down_for_good(cli):
    """Tables fit 80 columns, each wrong use has its remedy, and the supervisor restarts nobody."""
    with worker(cli, "--name", "web", "--processes", "2", ready=2) as process:
        pong = cli("control", "ping", "--app", "shop:stem", "--as", "ann")
        assert pong.code == 0
        assert pong.out.splitlines()[0].split() == [
            "WORKER",
            "VERSION",
            "STATE",
            "STARTED",
            "ANSWER",
        ]
        assert "2 workers: ping" in pong.err

        document = cli("control", "stats", "--app", "shop:stem", "--json", "--worker", "web-1").json
        assert [one["worker"] for one in document["answers"]] == ["web-1"]
        assert document["answers"][0]["value"]["memory"] > 0
        assert (document["unanswered"], document["silent"]) == ([], {})

        inside = cli("control", "inspect", "--app", "shop:stem", "--queue", "orders")
        assert inside.code == 0
        assert "time_limit=30.0" in inside.out
        assert "guest" not in inside.out
        assert max(map(len, (pong.out + inside.out).splitlines())) <= 80

        typo = cli("control", "shutdown", "--app", "shop:stem", "-w", "wbe-1", "--yes")
        assert typo.code == 2
        assert "did you mean web-1?" in typo.err
        typo = cli("control", "ping", "--app", "shop:stem", "--queue", "order")
        assert typo.code == 2
        assert "did you mean orders?" in typo.err
        asked = cli("control", "shutdown", "--app", "shop:stem", "--cold", "-w", "web-1")
        assert asked.code == 2
        assert "Add --yes" in asked.err
        tried = cli("control", "shutdown", "--app", "shop:stem", "--cold", "--dry-run")
        assert tried.code == 0
        assert "web-1" in tried.out

        stopped = cli("control", "shutdown", "--app", "shop:stem", "-w", "web-1", "--as", "ann")
        assert stopped.code == 0
        until(lambda: "is not restarted" in cli.log(), "the end of the first process")
        assert "warm shutdown by 'ann'" in cli.log()
        assert cli("control", "shutdown", "--app", "shop:stem", "--yes").code == 0
        assert process.wait(timeout=60) == 0
    nobody = cli("control", "ping", "--app", "shop:stem")
    assert nobody.code == 6
    assert "no worker is up" in nobody.err


def test_what_lasts_is_obeyed_confirmed_and_kept(cli):
    """Without a worker it is stored; the history says who did it; a reset ends it."""
    assert cli("topology", "apply", "--app", "shop:stem").code == 0
    app = ("--app", "shop:stem", "--as", "ann")
    stored = cli("control", "concurrency", "+2", "--queue", "orders", *app)
    assert stored.code == 0
    assert "stored in rabbitmq; no worker is up" in stored.err
    with worker(cli, "--name", "web", "-c", "3"):
        assert "orders x5" in cli.log()
        less = cli("control", "concurrency", "-1", "--queue", "orders", *app)
        assert less.code == 0
        assert "orders: 5 to 4" in less.out
        level = cli("control", "log-level", "debug", "--for", "1h", *app)
        assert level.code == 0
        assert "INFO to DEBUG" in level.out
        limited = cli("control", "rate-limit", "orders.sync", "5/s", *app, "--reason", "slow ERP")
        assert limited.code == 0
        tried = cli("control", "revoke", "--task", "orders.*", "--dry-run", "--app", "shop:stem")
        assert tried.code == 0
        assert "would revoke task orders.*" in tried.err
        asked = cli("control", "revoke", "--task", "orders.*", *app)
        assert asked.code == 2
        assert "Add --yes" in asked.err
        assert cli("control", "revoke", "--task", "orders.*", "--yes", *app).code == 0
        assert cli("control", "revoke", "some-id", "--terminate", *app).code == 0
    for words, says in (
        (("concurrency", "5"), "write +5"),
        (("resume", "--queue", "orders"), "there is no pause of queue orders"),
        (("pause",), "name a queue or a task"),
        (("revoke",), "name either one task by its id, or conditions"),
        (("revoke", "--meta", "x"), "is not a pair"),
        (("log-level", "LOUD"), "is not a log level"),
    ):
        wrong = cli("control", *words, *app)
        assert wrong.code == 2, words
        assert says in wrong.err
    history = cli("control", "history", "--app", "shop:stem")
    assert history.code == 0
    assert "slow ERP" in history.out
    assert max(map(len, history.out.splitlines())) <= 80
    document = cli("control", "history", "--app", "shop:stem", "--json").json
    assert [one["kind"] for one in document["commands"]] == [
        "concurrency", "concurrency", "log-level", "rate-limit", "revoke", "revoke",
    ]  # fmt: skip
    assert {one["by"] for one in document["commands"]} == {"ann"}
    assert cli("control", "concurrency", "reset", "--queue", "orders", *app).code == 0
    held = cli("control", "history", "--in-force", "--app", "shop:stem", "--json").json["commands"]
    assert sorted(one["kind"] for one in held) == ["log-level", "rate-limit", "revoke", "revoke"]
