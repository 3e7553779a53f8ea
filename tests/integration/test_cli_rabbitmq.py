"""Test the command line on RabbitMQ: workers, enqueue, queues, dead letters, topology, health."""

import os
import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_support import command_line, worker
from support import until

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
    """Yield a command line in a directory with an application, and clean the broker afterwards."""
    names = Names(stem_namespace.name)
    entities = compile_topology(Topology.default(), names, ["orders", "emails"])
    stem_namespace.delete_later(
        exchanges=[exchange.name for exchange in entities.exchanges],
        queues=[queue.name for queue in entities.queues],
    )
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
        monkeypatch.setenv("STEM_NAMESPACE", stem_namespace.name)
        # Nothing listens there: a test must not depend on a management API
        monkeypatch.setenv("STEM_MANAGEMENT_URL", "http://127.0.0.1:1")
        cli.write("shop.py", SHOP)
        yield cli


def ended(process, *signals):
    """Send signals to a process, and return its exit code."""
    for number in signals:
        process.send_signal(number)
    return process.wait(timeout=60)


def dead_letter(cli):
    """Make a dead letter in the queue orders, and return its id."""
    with worker(cli) as process:
        ran = cli("enqueue", "orders.sync", *FAILING, *APP, "--timeout", "60s")
        assert ran.code == 1
        # one that is killed may not have acknowledged the task yet
        assert ended(process, signal.SIGTERM) == 0
    return ran.out.split()[0]


def test_a_worker_runs_what_is_enqueued_and_stops_cleanly(cli):
    """A waiting caller gets the result, and SIGTERM stops the worker cleanly."""
    with worker(cli, "-Q", "orders", "--name", "w1", "--concurrency", "3") as process:
        ran = cli("enqueue", "orders.sync", *ORDER, *APP, "--wait", "--timeout", "60s")
        assert ran.code == 0
        task_id, result = ran.out.split("\n", 1)
        assert re.fullmatch(r"[0-9a-f-]{36}", task_id)
        assert result == '{\n  "order": "order-42"\n}\n'
        assert "orders.sync is in queue orders" in ran.err
        words = ("--queue", "orders", "--meta", "a=b", "--timeout", "60s", "--json")
        document = cli("enqueue", "orders.sync", *ORDER, *words).json
        assert document["state"] == "succeeded"
        assert document["result"] == {"order": "order-42"}
        assert ended(process, signal.SIGTERM) == 0
    assert "shop:stem, 3 tasks; RabbitMQ" in cli.log()
    assert "worker w1 is ready: orders x3" in cli.log()
    assert "worker w1 has stopped: SIGTERM" in cli.log()
    assert "guest:guest" not in cli.log()


def test_a_failed_task_is_an_exit_code(cli):
    """A caller that waits for a failed task gets its error, its traceback and exit code 1."""
    with worker(cli):
        ran = cli("enqueue", "orders.sync", *FAILING, *APP, "--timeout", "60s")
        assert ran.code == 1
        assert "ConnectionError: the [ERP] is down" in ran.err
        assert 'in sync\n        raise ConnectionError("the [ERP] is down")' in ran.err
        ran = cli("enqueue", "orders.sync", *FAILING, *APP, "--timeout", "60s", "--json")
        assert ran.code == 1
        assert (ran.json["state"], ran.json["reason"]) == ("failed", "retries-exhausted")


def test_waiting_ends_in_time(cli):
    """Without a worker there is no result; the task continues, and its id is printed."""
    cli("topology", "apply", *APP)
    ran = cli("enqueue", "orders.sync", *ORDER, *APP, "--timeout", "50ms", "--json")
    assert ran.code == 4
    assert ran.json["state"] == "queued"
    assert ran.json["id"] in ran.err


def test_a_second_signal_hurries(cli):
    """The second signal ends the grace period at once, and the task is requeued."""
    with worker(cli, "--grace", "10m") as process:
        cli("enqueue", "orders.slow", "--args", '{"seconds": 500}', *APP)
        until(lambda: "slow began" in cli.log(), "the start of the task")
        process.send_signal(signal.SIGINT)
        until(lambda: "SIGINT: stopping" in cli.log(), "the first signal")
        assert ended(process, signal.SIGINT) == 0
    until(
        lambda: cli("queues", "shop:stem", "--json").json["queues"][0]["ready"] == 1,
        "the return of the task",
    )


def test_a_thread_that_does_not_end_keeps_no_process_alive(cli):
    """A synchronous task beyond its time limit cannot be stopped; the worker exits nevertheless."""
    with worker(cli, "--grace", "1s") as process:
        assert cli("enqueue", "emails.stuck", *APP, "--timeout", "60s").code == 1
        assert ended(process, signal.SIGTERM) == 0
    assert "exiting with threads whose tasks do not end: stem-amqp-task" in cli.log()


def test_several_processes_are_kept_running(cli):
    """A killed process is started again; stopping the parent stops all processes."""
    with worker(cli, "-Q", "orders", "-p", "2", "--name", "w", ready=2) as parent:
        first, second = map(int, re.findall(r"worker \d is process (\d+)", cli.log()))
        os.kill(second, signal.SIGKILL)
        until(lambda: cli.log().count("worker w-2 is ready") == 2, "the restart")
        assert cli("enqueue", "orders.sync", *ORDER, *APP, "--timeout", "60s").code == 0
        assert ended(parent, signal.SIGTERM) == 0
    assert f"worker 2 (process {second}) was killed by SIGKILL" in cli.log()
    assert not alive(first)


def test_no_process_outlives_a_killed_parent(cli):
    """The child processes end although SIGKILL gives the parent no time to stop them."""
    with worker(cli, "-p", "2", ready=2) as parent:
        children = list(map(int, re.findall(r"worker \d is process (\d+)", cli.log())))
        parent.kill()
        until(lambda: not any(map(alive, children)), "the end of the children")
    assert cli.log().count("the supervisor has exited") >= 2


def alive(pid):
    """Return whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_processes_that_the_broker_refuses_are_not_restarted_for_ever(cli, stem_broker_url):
    """The parent ends if the broker refuses the password."""
    wrong = with_credentials(stem_broker_url, "nobody:wrong")
    with cli.process("worker", "shop:stem", "-p", "2", "--broker-url", wrong) as process:
        assert process.wait(timeout=60) == 5
    assert "no worker can start" in cli.log()


def test_queues_shows_what_waits_and_declares_nothing(cli):
    """The command declares nothing before a deploy, and shows each number afterwards."""
    for _ in range(2):
        ran = cli("queues", "shop:stem")
        assert ran.code == 0
        assert "not on the broker: orders, emails" in ran.out
    dead_letter(cli)
    cli("enqueue", "orders.sync", *ORDER, *APP)
    cli("enqueue", "orders.sync", *ORDER, *APP, "--delay", "3000s")
    cli("enqueue", "orders.sync", *ORDER, *APP, "--delay", "3000s")
    ran = cli("queues", "shop:stem")
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["QUEUE", "READY", "RUNNING", "CONSUMERS", "DEAD"] in lines
    assert ["orders", "1", NOTHING, "0", "1"] in lines
    assert "  50 min:  2 messages  " in ran.out
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
        "paused": "",
    }
    assert document["delayed"]["total"] == 2
    (bucket,) = document["delayed"]["buckets"]
    assert bucket.pop("name").endswith(".zz-delay.0003000.0s")
    assert bucket == {"seconds": 3000, "messages": 2}


def test_running_comes_from_the_management_api(cli, stem_broker, monkeypatch):
    """A running task is counted if the management API is available."""
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
    """The command prints the queues repeatedly, and Ctrl-C ends it without an error."""
    with cli.process("queues", "shop:stem", "--watch", "--every", "50ms") as process:
        until(lambda: cli.log().count("QUEUE") >= 3, "three reports")
        assert ended(process, signal.SIGINT) == 0
    assert "Traceback" not in cli.log()


def test_dead_letters_are_listed_shown_replayed_and_purged(cli):
    """An operator can list, show, dry-run, replay and purge dead letters."""
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
    without = cli("dlq", "replay")
    assert (without.code, "--composition ID" in without.err) == (2, True)
    none = cli("dlq", "replay", "--composition", task_id)
    assert (none.code, none.out) == (0, f"no dead letters of composition {task_id}\n")
    assert cli("dlq", "replay", "--composition", task_id, "--json").json["queues"] == []
    assert cli("dlq", "replay", "--composition", task_id, "--limit", "1").code == 2
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


def test_dead_letters_are_found_by_beginnings_of_ids_and_names_of_the_broker(cli):
    """A wrong id is an error for every command; a replay of nothing does not exit with code 0."""
    task_id = dead_letter(cli)
    namespace = os.environ["STEM_NAMESPACE"]
    for queue in ("orders", f"{namespace}.orders.dlq", f"{namespace}.orders", "orders.dlq"):
        ran = cli("dlq", "list", queue, "--id", task_id[:13], "--json")
        assert [letter["id"] for letter in ran.json["letters"]] == [task_id]
    assert task_id in cli("dlq", "show", "orders", task_id[:20]).out
    for words in (("list",), ("replay", "--yes"), ("replay", "--dry-run"), ("purge", "--yes")):
        ran = cli("dlq", words[0], "orders", "--id", "WRONG", "--id", task_id[:13], *words[1:])
        assert ran.code == 1, words
        assert f"task WRONG has no dead letter in '{namespace}.orders.dlq'" in ran.err
        assert "stem-amqp dlq list orders" in ran.err
    assert cli("dlq", "show", "orders", "WRONG").code == 1
    ran = cli("dlq", "purge", "orders", "--id", task_id[:13], "--yes", "--json")
    assert ran.json == {"queue": "orders", "dropped": 1}


def test_health_reports_tasks_that_no_worker_will_take(cli):
    """Each such queue is listed with its number; with a worker the check succeeds again."""
    cli("topology", "apply", *APP)
    cli("enqueue", "orders.slow", "--args", '{"seconds": 0}', *APP)
    ran = cli("health", "shop:stem")
    assert ran.code == 1
    assert re.search(
        r"FAILED +consumers +tasks wait, and no worker consumes their queue: orders 1",
        ran.out,
    )
    assert re.search(r"stem-amqp worker APP -Q\s+orders", ran.out)
    with worker(cli):
        until(lambda: cli("health", "shop:stem").code == 0, "health")


def test_health_reports_alarms_without_the_management_api(cli):
    """Health detects whether publishes are read; other resources are reported as unknown."""
    cli("topology", "apply", *APP)
    checks = {check["name"]: check for check in cli("health", APP[1], "--json").json["checks"]}
    assert checks["resources"]["detail"].startswith("no alarm; file descriptors are not known")


def test_health_sends_a_message_and_looks_at_the_oldest_task(cli):
    """An age that cannot be known without harm is no failure; a task that is too old is one."""
    cli.write("late.yaml", "version: 1\nqueues: {orders: {max_ready_age: 1ms}}\n")
    late = ("--topology", "late.yaml")
    cli("topology", "apply", "late.yaml", *APP)
    checks = {one["name"]: one for one in cli("health", APP[1], *late, "--json").json["checks"]}
    assert checks["round-trip"]["ok"]
    assert "was published and consumed" in checks["round-trip"]["detail"]
    assert checks["age"]["detail"] == "orders 0 ms of 1 ms"
    cli("enqueue", "orders.sync", *ORDER, *APP)

    def age():
        found = cli("health", APP[1], *late, "--json").json
        return next(one for one in found["checks"] if one["name"] == "age")

    unknown = "not known for orders: run stem-amqp exporter"
    found = until(lambda: (one := age()) and (one["detail"] == unknown or not one["ok"]) and one)
    assert found["detail"] == unknown or "longer than max_ready_age: orders" in found["detail"]
    with worker(cli, "-Q", "orders"):
        until(lambda: age()["detail"] == "orders 0 ms of 1 ms")


def test_health_reports_descriptors_if_the_management_api_does(cli, stem_broker, monkeypatch):
    """The check shows the numbers of each node."""
    if stem_broker.management_url is None:
        pytest.skip("the broker has no management API")
    monkeypatch.setenv("STEM_MANAGEMENT_URL", stem_broker.management_url)
    checks = {check["name"]: check for check in cli("health", APP[1], "--json").json["checks"]}
    assert re.match(
        r"no alarm; .+: (about )?\d+ of \d+ file descriptors", checks["resources"]["detail"]
    )


def test_queues_without_an_application_come_from_the_management_api(cli, stem_broker, monkeypatch):
    """If the API does not answer or shows no queue, the error says what to name."""
    cli("topology", "apply", *APP)
    ran = cli("queues")
    assert ran.code == 2
    assert "does not answer" in ran.err
    assert "Specify the application (stem-amqp queues shop:stem)" in ran.err
    if stem_broker.management_url is None:
        pytest.skip("the broker has no management API")
    monkeypatch.setenv("STEM_MANAGEMENT_URL", stem_broker.management_url)
    assert [line["queue"] for line in cli("queues", "--json").json["queues"]] == [
        "emails",
        "orders",
    ]
    ran = cli("queues", "--namespace", "nowhere")
    assert ran.code == 2
    assert "has no queue of the namespace 'nowhere'" in ran.err
    assert os.environ["STEM_NAMESPACE"] in ran.err


def test_a_queue_that_is_nowhere_is_an_error(cli):
    """An unknown queue is an error; a known one that is not declared yet is shown as missing."""
    for words in ((), ("shop:stem",)):
        ran = cli("queues", *words, "-Q", "ordres")
        assert ran.code == 2, words
        assert "there is no queue 'ordres' in the namespace" in ran.err
    assert "did you mean orders" in ran.err
    ran = cli("queues", "shop:stem", "-Q", f"{os.environ['STEM_NAMESPACE']}.orders")
    assert ran.code == 0
    assert "not on the broker: orders" in ran.out


def until_dead(cli):
    """Let a worker fail the replayed task, and return the dead letter."""
    with worker(cli):
        letters = until(
            lambda: cli("dlq", "list", "orders", "--json").json["letters"], "the dead letter"
        )
    return letters[0]


def test_an_unknown_queue_of_dead_letters_is_answered_with_the_like_one(cli):
    """A typing mistake declares nothing, and the error names the existing queues."""
    cli("topology", "apply", *APP)
    ran = cli("dlq", "list", "ordres", *APP)
    assert ran.code == 5
    assert "did you mean the queue 'orders'?" in ran.err


def test_apply_declares_once_and_says_what(cli):
    """The first apply declares everything, the second nothing; a plan says so before."""
    ran = cli("topology", "plan", *APP, "--json")
    assert ran.code == 2
    assert len([step for step in ran.json["create"] if step["kind"] == "queue"]) == 79
    ran = cli("topology", "apply", *APP)
    assert ran.code == 0
    assert re.search(r"^\+ +queue +t-\w+\.orders\.dlq$", ran.out, re.MULTILINE)
    assert re.search(r"^\+ +delays +.*72 queues", ran.out, re.MULTILINE)
    for command in ("apply", "plan", "verify"):
        ran = cli("topology", command, *APP)
        assert ran.code == 0
        assert ran.out.splitlines()[-1].startswith("nothing to do: ")


def test_prune_without_the_management_api_does_nothing_at_all(cli):
    """The command refuses to start, since it could do only half of the work."""
    ran = cli("topology", "apply", "--prune", "--yes", *APP)
    assert ran.code == 5
    assert "which only the management API knows: nothing was done" in ran.err
    assert "does not answer" in ran.err
    assert "STEM_MANAGEMENT_URL=http://user:password@host:15672" in ran.err
    assert len(ran.err.splitlines()) < 8
    ran = cli("topology", "plan", *APP, "--json")
    assert ran.json["same"] == 0


def test_another_topology_on_the_broker_is_refused(cli):
    """The error names both values, and the command that can change them."""
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
    """Without the management API the old queue is drained, but not deleted."""
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
    """Health fails until the topology is declared and the worker runs."""
    ran = cli("health", "shop:stem")
    assert ran.code == 1
    assert re.search(r"^FAILED +topology +95 of 95", ran.out, re.MULTILINE)
    cli("topology", "apply", *APP)
    assert cli("health", "shop:stem").code == 0
    assert cli("health", "shop:stem", "--require-consumers", "orders").code == 1
    with worker(cli, "-Q", "orders"):
        ran = cli("health", "shop:stem", "--require-consumers", "orders", "--json")
        assert (ran.code, ran.json["healthy"]) == (0, True)
        assert cli("health", "shop:stem", "--require-consumers", "orders,emails").code == 1
    assert "did you mean orders?" in cli("health", "shop:stem", "--require-consumers", "ordrs").err


def test_enqueue_without_an_application_declares_nothing(cli):
    """Queues with default arguments could differ from those of the application's topology."""
    ran = cli("enqueue", "orders.sync", *ORDER)
    assert ran.code == 5
    assert "set it with --queue, or the application with --app" in ran.err
    assert cli("queues", "shop:stem", "--json").json["queues"][0]["ready"] is None
    cli("topology", "apply", *APP)
    ran = cli("enqueue", "orders.sync", *ORDER, "--queue", "ordrs")
    assert ran.code == 5
    assert "there is no queue 'ordrs'" in ran.err


def with_credentials(url, credentials):
    """Return a URL with another user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{credentials}@{parts.netloc.rpartition('@')[2]}").geturl()


def test_wrong_credentials_and_virtual_hosts_are_distinguished_from_silence(cli, stem_broker_url):
    """A refusal names the user, the virtual host and the setting to change."""
    wrong = with_credentials(stem_broker_url, "nobody:wrong-word")
    ran = cli("queues", "--broker-url", wrong)
    assert ran.code == 5
    assert "refused user 'nobody'" in ran.err
    assert "STEM_BROKER_URL" in ran.err
    assert "wrong-word" not in ran.err
    ran = cli("queues", "--broker-url", stem_broker_url.rstrip("/") + "/no-such-vhost")
    assert ran.code == 5
    assert "virtual host 'no-such-vhost'" in ran.err


def test_schedules_are_run_paused_and_resumed(cli, monkeypatch, tmp_path):
    """Each command says what it did, and a wrong name what there is."""
    monkeypatch.setenv("STEM_BACKEND_URL", f"sqlite:///{tmp_path}/results.db")
    cli.write(
        "shop.py", SHOP + '\n    stem.schedule("nightly", slow, every="1d", args={"seconds": 0})\n'
    )
    assert cli("topology", "apply", *APP).code == 0
    ran = cli("schedules", "run", "shop:stem", "nightly")
    assert (ran.code, ran.out.partition("@")[0]) == (0, "nightly")
    assert cli("result", ran.out.strip(), *APP).out
    (past,) = cli("schedules", "history", "shop:stem", "nightly", "--json").json["ticks"]
    assert (past["id"], past["by_hand"]) == (ran.out.strip(), True)
    paused = cli("schedules", "pause", "shop:stem", "night*", "--reason", "inventory", "--json")
    assert paused.json["schedule"] == "night*"
    assert "inventory" in cli("control", "history", *APP).out
    assert cli("schedules", "resume", "shop:stem", "night*").code == 0
    again = cli("schedules", "resume", "shop:stem", "night*")
    assert (again.code, "none is in force" in again.err) == (2, True)
    wrong = cli("schedules", "pause", "shop:stem", "nihgtly")
    assert (wrong.code, "did you mean nightly?" in wrong.err) == (2, True)
