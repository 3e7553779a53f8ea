"""The command line on RabbitMQ: workers, enqueue, queues, dead letters, topology, health."""

import os
import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_support import command_line

from stem_amqp.cli.output import NOTHING
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names

SHOP = """
    import asyncio, time
    from stem_amqp import Stem
    stem = Stem()

    @stem.task("orders.sync", queue="orders", max_retries=1, retry={"base": "100ms", "jitter": 0})
    async def sync(order_id: str, fail: bool = False) -> dict[str, str]:
        if fail:
            raise ConnectionError("the [ERP] is down")
        return {"order": order_id}

    @stem.task("orders.slow", queue="orders")
    async def slow(seconds: float) -> None:
        print("slow began", flush=True)
        await asyncio.sleep(seconds)

    @stem.task("emails.stuck", queue="emails", time_limit="200ms", max_retries=0)
    def stuck() -> None:
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass
"""
APP = ("--app", "shop:stem")
ORDER = ("--args", '{"order_id": "order-42"}')
FAILING = ("--args", '{"order_id": "order-43", "fail": true}')


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path, stem_broker_url, stem_namespace):
    """A command line in a directory with an application, on a broker that is cleaned afterwards."""
    names = Names(stem_namespace.name)
    entities = compile_topology(Topology.default(), names, ["orders", "emails"])
    stem_namespace.delete_later(
        exchanges=[exchange.name for exchange in entities.exchanges],
        queues=[queue.name for queue in entities.queues],
    )
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
        monkeypatch.setenv("STEM_NAMESPACE", stem_namespace.name)
        # Nobody listens there: a test must not depend on a management API
        monkeypatch.setenv("STEM_MANAGEMENT_URL", "http://127.0.0.1:1")
        cli.write("shop.py", SHOP)
        yield cli


def until(holds, what, timeout=30.0):
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + timeout
    while not (value := holds()):
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        time.sleep(0.02)
    return value


@contextmanager
def worker(cli, *words, ready=1):
    """Run a worker for a block that begins when it consumes."""
    before = cli.log().count("is ready")
    with cli.process("worker", "shop:stem", *words) as process:
        until(lambda: cli.log().count("is ready") >= before + ready, "the worker's start")
        yield process


def ended(process, *signals):
    """Send signals to a process, and return its exit code."""
    for number in signals:
        process.send_signal(number)
    return process.wait(timeout=30)


def dead_letter(cli):
    """Make a dead letter of orders, and return its id."""
    with worker(cli):
        ran = cli("enqueue", "orders.sync", *FAILING, *APP, "--timeout", "20s")
        assert ran.code == 1
    return ran.out.split()[0]


def test_a_worker_runs_what_is_enqueued_and_stops_cleanly(cli):
    """The result comes back to who waits, and SIGTERM is an orderly end."""
    with worker(cli, "-Q", "orders", "--name", "w1", "--concurrency", "3") as process:
        ran = cli("enqueue", "orders.sync", *ORDER, *APP, "--wait", "--timeout", "20s")
        assert ran.code == 0
        task_id, result = ran.out.split("\n", 1)
        assert re.fullmatch(r"[0-9a-f-]{36}", task_id)
        assert result == '{\n  "order": "order-42"\n}\n'
        assert "orders.sync is in queue orders" in ran.err
        words = ("--queue", "orders", "--meta", "a=b", "--timeout", "20s", "--json")
        document = cli("enqueue", "orders.sync", *ORDER, *words).json
        assert document["state"] == "succeeded"
        assert document["result"] == {"order": "order-42"}
        assert ended(process, signal.SIGTERM) == 0
    assert "shop:stem, 3 tasks; RabbitMQ" in cli.log()
    assert "worker w1 is ready: orders x3" in cli.log()
    assert "worker w1 has stopped: SIGTERM" in cli.log()
    assert "guest:guest" not in cli.log()


def test_a_failed_task_is_an_exit_code(cli):
    """Who waits for a task that fails gets its error, its traceback and code 1."""
    with worker(cli):
        ran = cli("enqueue", "orders.sync", *FAILING, *APP, "--timeout", "20s")
        assert ran.code == 1
        assert "ConnectionError: the [ERP] is down" in ran.err
        assert 'in sync\n    raise ConnectionError("the [ERP] is down")' in ran.err
        ran = cli("enqueue", "orders.sync", *FAILING, *APP, "--timeout", "20s", "--json")
        assert ran.code == 1
        assert (ran.json["state"], ran.json["reason"]) == ("failed", "retries-exhausted")


def test_waiting_ends_in_time(cli):
    """Without a worker there is no result; the task goes on, and its id is known."""
    cli("topology", "apply", *APP)
    ran = cli("enqueue", "orders.sync", *ORDER, *APP, "--timeout", "50ms", "--json")
    assert ran.code == 4
    assert ran.json["state"] == "queued"
    assert ran.json["id"] in ran.err


def test_a_second_signal_hurries(cli):
    """The grace period ends at once, and the task goes back to its queue."""
    with worker(cli, "--grace", "10m") as process:
        cli("enqueue", "orders.slow", "--args", '{"seconds": 500}', *APP)
        until(lambda: "slow began" in cli.log(), "the start of the task")
        process.send_signal(signal.SIGINT)
        until(lambda: "SIGINT: stopping" in cli.log(), "the first signal")
        assert ended(process, signal.SIGINT) == 0
    assert cli("queues", "shop:stem", "--json").json["queues"][0]["ready"] == 1


def test_a_thread_that_does_not_end_keeps_no_process_alive(cli):
    """A synchronous task beyond its time limit cannot be stopped, so it is left behind."""
    with worker(cli, "--grace", "1s") as process:
        assert cli("enqueue", "emails.stuck", *APP, "--timeout", "20s").code == 1
        assert ended(process, signal.SIGTERM) == 0
    assert "threads are left behind whose tasks do not end: stem-amqp-task" in cli.log()


def test_several_processes_are_kept_running(cli):
    """One that is killed is started again; a stop of the parent is a stop of all."""
    with worker(cli, "-Q", "orders", "-p", "2", "--name", "w", ready=2) as parent:
        first, second = map(int, re.findall(r"worker \d is process (\d+)", cli.log()))
        os.kill(second, signal.SIGKILL)
        until(lambda: cli.log().count("worker w-2 is ready") == 2, "the restart")
        assert cli("enqueue", "orders.sync", *ORDER, *APP, "--timeout", "20s").code == 0
        assert ended(parent, signal.SIGTERM) == 0
    assert f"worker 2 (process {second}) was killed by SIGKILL" in cli.log()
    assert not alive(first)


def test_no_process_outlives_a_killed_parent(cli):
    """SIGKILL gives the parent no time to tell them: they notice."""
    with worker(cli, "-p", "2", ready=2) as parent:
        children = list(map(int, re.findall(r"worker \d is process (\d+)", cli.log())))
        parent.kill()
        until(lambda: not any(map(alive, children)), "the end of the children")
    assert cli.log().count("the supervisor is gone") >= 2


def alive(pid):
    """Say whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_processes_that_the_broker_refuses_are_not_restarted_for_ever(cli, stem_broker_url):
    """A wrong password does not mend itself."""
    wrong = with_credentials(stem_broker_url, "nobody:wrong")
    with cli.process("worker", "shop:stem", "-p", "2", "--broker-url", wrong) as process:
        assert process.wait(timeout=40) == 5
    assert "no worker can start" in cli.log()


def test_queues_shows_what_waits_and_declares_nothing(cli):
    """Before a deploy there is nothing, and looking leaves it so; then each number is right."""
    for _ in range(2):
        ran = cli("queues", "shop:stem")
        assert ran.code == 0
        assert "not on the broker: orders, emails" in ran.out
    dead_letter(cli)
    cli("enqueue", "orders.sync", *ORDER, *APP)
    cli("enqueue", "orders.sync", *ORDER, *APP, "--delay", "30s")
    cli("enqueue", "orders.sync", *ORDER, *APP, "--delay", "30s")
    ran = cli("queues", "shop:stem")
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["QUEUE", "READY", "RUNNING", "CONSUMERS", "DEAD"] in lines
    assert ["orders", "1", NOTHING, "0", "1"] in lines
    assert "  30 s:  2 messages  " in ran.out
    assert "unroutable  none" in ran.out
    assert "Enable rabbitmq_management, or set" in ran.out
    document = cli("queues", "shop:stem", "--json").json
    assert document["queues"][0] | {"name": ""} == {
        "queue": "orders",
        "name": "",
        "ready": 1,
        "running": None,
        "consumers": 0,
        "dead": 1,
    }
    assert document["delayed"] == {"total": 2, "buckets": [{"seconds": 30, "messages": 2}]}


def test_running_comes_from_the_management_api(cli, stem_broker, monkeypatch):
    """A task that runs is counted where the broker tells."""
    if stem_broker.management_url is None:
        pytest.skip("the broker has no management API")
    monkeypatch.setenv("STEM_MANAGEMENT_URL", stem_broker.management_url)
    with worker(cli, "--grace", "0s"):
        cli("enqueue", "orders.slow", "--args", '{"seconds": 500}', *APP)
        until(
            lambda: cli("queues", "shop:stem", "--json").json["queues"][0]["running"] == 1,
            "the running task",
        )


def test_watching_ends_with_ctrl_c(cli):
    """It shows the queues again and again, and its end is no error."""
    with cli.process("queues", "shop:stem", "--watch", "--every", "50ms") as process:
        until(lambda: cli.log().count("QUEUE") >= 3, "three reports")
        assert ended(process, signal.SIGINT) == 0
    assert "Traceback" not in cli.log()


def test_dead_letters_are_listed_shown_replayed_and_purged(cli):
    """The way of an operator: look, try, replay; and drop what is of no use."""
    task_id = dead_letter(cli)
    ran = cli("dlq", "list", "orders", *APP)
    assert f"orders.sync  {task_id}\n  retries-exhausted, " in ran.out
    assert "after 2 runs" in ran.out
    assert "ConnectionError: the [ERP] is down" in ran.out
    assert ran.err == "1 of 1 dead letters of orders\n"
    (letter,) = cli("dlq", "list", "orders", "--json").json["letters"]
    assert (letter["id"], letter["reason"]) == (task_id, "retries-exhausted")

    shown = cli("dlq", "show", "orders", task_id)
    assert 'args       {"order_id":"order-43","fail":true}' in shown.out
    assert 'raise ConnectionError("the [ERP] is down")' in shown.out
    assert cli("dlq", "show", "orders", task_id, "--json").json["args"]["fail"] is True

    assert cli("dlq", "list", "orders", "--task", "emails.*", "--json").json["letters"] == []
    ran = cli("dlq", "replay", "orders", "--task", "orders.*", "--dry-run")
    assert ran.out == "1 dead letter of orders would be replayed\n"
    refused = cli("dlq", "replay", "orders")
    assert refused.code == 2
    assert "replay all of 1 dead letters of orders, and there is no terminal" in refused.err
    ran = cli("dlq", "replay", "orders", "--id", task_id, "--rate", "10/s")
    assert ran.code == 0
    assert ran.out == "replayed 1 of 1 dead letters of orders\n"
    assert f"replayed orders.sync {task_id}" in ran.err
    document = cli("dlq", "replay", "orders", "--yes", "--json").json
    assert (document["matched"], document["dry_run"]) == (0, False)

    dead_letter_again = until_dead(cli)
    assert dead_letter_again["replays"] == 1
    assert cli("dlq", "purge", "orders").code == 2
    ran = cli("dlq", "purge", "orders", "--yes", "--json")
    assert ran.json == {"queue": "orders", "dropped": 1}
    assert cli("dlq", "show", "orders", task_id).code == 1


def until_dead(cli):
    """Let a worker fail what was replayed, and return the dead letter."""
    with worker(cli):
        letters = until(
            lambda: cli("dlq", "list", "orders", "--json").json["letters"], "the dead letter"
        )
    return letters[0]


def test_an_unknown_queue_of_dead_letters_is_answered_with_the_like_one(cli):
    """A typo declares nothing and names what there is."""
    cli("topology", "apply", *APP)
    ran = cli("dlq", "list", "ordres", *APP)
    assert ran.code == 5
    assert "did you mean the queue 'orders'?" in ran.err


def test_apply_declares_once_and_says_what(cli):
    """The first time everything is new, the second time nothing; a plan says so before."""
    ran = cli("topology", "plan", *APP, "--json")
    assert ran.code == 2
    assert len([step for step in ran.json["create"] if step["kind"] == "queue"]) == 77
    ran = cli("topology", "apply", *APP)
    assert ran.code == 0
    assert re.search(r"^\+ +queue +t-\w+\.orders\.dlq$", ran.out, re.MULTILINE)
    assert re.search(r"^\+ +delays +.*72 queues", ran.out, re.MULTILINE)
    for command in ("apply", "plan", "verify"):
        ran = cli("topology", command, *APP)
        assert ran.code == 0
        assert ran.out.splitlines()[-1].startswith("nothing to do: ")


def test_prune_without_the_management_api_does_nothing_at_all(cli):
    """Half of what was asked for would be done: so it is refused before the first half."""
    ran = cli("topology", "apply", "--prune", "--yes", *APP)
    assert ran.code == 5
    assert "which only the management API knows: nothing was done" in ran.err
    assert "does not answer" in ran.err
    assert "STEM_MANAGEMENT_URL=http://user:password@host:15672" in ran.err
    assert len(ran.err.splitlines()) < 8
    ran = cli("topology", "plan", *APP, "--json")
    assert ran.json["same"] == 0


def test_another_topology_on_the_broker_is_refused(cli):
    """Both values are named, and the command that can change it."""
    cli("topology", "apply", *APP)
    cli.write("other.yaml", "version: 1\nqueues:\n  orders: {delivery_limit: 7}\n")
    ran = cli("topology", "apply", "other.yaml", *APP)
    assert ran.code == 5
    assert "x-delivery-limit is 100, wanted 7" in ran.err
    assert "stem-amqp topology migrate other.yaml -Q orders" in ran.err
    assert cli("topology", "verify", "other.yaml", *APP).code == 1
    ran = cli("topology", "plan", "other.yaml", *APP, "--json")
    assert ran.code == 2
    assert [step["details"] for step in ran.json["blocked"]] == [
        [{"key": "x-delivery-limit", "wanted": "7", "current": "100"}]
    ]


def test_migrate_says_what_it_would_do_and_does_what_it_can(cli, stem_namespace):
    """Without the management API the old queue is drained, and left for somebody who knows."""
    name = stem_namespace.name
    stem_namespace.delete_later(queues=[f"{name}.orders.v2"])
    cli("topology", "apply", *APP)
    cli("enqueue", "orders.sync", *ORDER, *APP)
    migrate = ("topology", "migrate", "next.yaml", *APP)
    cli.write("next.yaml", "version: 1\nqueues:\n  orders: {ttl: 1h}\n")
    ran = cli(*migrate)
    assert ran.code == 2
    assert re.search(r"x-message-ttl is .* on the broker and 3600000", ran.err)
    assert "queues: {orders: {version: 2}}" in ran.err
    cli.write("next.yaml", "version: 1\nqueues:\n  orders: {ttl: 1h, version: 2}\n")
    ran = cli(*migrate, "-Q", "orders", "--dry-run")
    assert (ran.code, ran.out.splitlines()[0]) == (
        0,
        f"queue orders: {name}.orders → {name}.orders.v2",
    )
    assert cli(*migrate, "-Q", "orders", "--yes", "--timeout", "0s").code == 4
    ran = cli(*migrate, "--yes", "--without-consumers", "--json")
    assert ran.code == 1
    (account,) = ran.json["queues"]
    assert account["moved"] == 1
    assert "without the management API" in account["left"]
    report = cli("queues", "shop:stem", "--topology", "next.yaml").out
    assert re.search(r"^orders +0 .*\norders\.v2 +1 ", report, re.MULTILINE)


def test_health_is_a_gate_for_deploys(cli):
    """Not healthy before the topology stands and the worker runs; healthy then."""
    ran = cli("health", "shop:stem")
    assert ran.code == 1
    assert re.search(r"^FAILED +topology +91 of 91", ran.out, re.MULTILINE)
    cli("topology", "apply", *APP)
    assert cli("health", "shop:stem").code == 0
    assert cli("health", "shop:stem", "--require-consumers", "orders").code == 1
    with worker(cli, "-Q", "orders"):
        ran = cli("health", "shop:stem", "--require-consumers", "orders", "--json")
        assert (ran.code, ran.json["healthy"]) == (0, True)
        assert cli("health", "shop:stem", "--require-consumers", "orders,emails").code == 1
    assert "did you mean orders?" in cli("health", "shop:stem", "--require-consumers", "ordrs").err


def test_enqueue_without_an_application_declares_nothing(cli):
    """Queues made from defaults could differ from those of the application's topology."""
    ran = cli("enqueue", "orders.sync", *ORDER)
    assert ran.code == 5
    assert "name it with --queue, or the application with --app" in ran.err
    assert cli("queues", "--json").json["queues"][0]["ready"] is None
    cli("topology", "apply", *APP)
    ran = cli("enqueue", "orders.sync", *ORDER, "--queue", "ordrs")
    assert ran.code == 5
    assert "there is no queue 'ordrs'" in ran.err


def with_credentials(url, credentials):
    """Return a URL with another user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{credentials}@{parts.netloc.rpartition('@')[2]}").geturl()


def test_wrong_credentials_and_virtual_hosts_are_told_apart_from_silence(cli, stem_broker_url):
    """The broker is there and says no: who, to what, and where to change it."""
    wrong = with_credentials(stem_broker_url, "nobody:wrong-word")
    ran = cli("queues", "--broker-url", wrong)
    assert ran.code == 5
    assert "refused user 'nobody'" in ran.err
    assert "STEM_BROKER_URL" in ran.err
    assert "wrong-word" not in ran.err
    ran = cli("queues", "--broker-url", stem_broker_url.rstrip("/") + "/no-such-vhost")
    assert ran.code == 5
    assert "virtual host 'no-such-vhost'" in ran.err
