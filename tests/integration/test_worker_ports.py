"""The metrics port and the health port of worker processes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cli_support import ROOT, command_line, worker
from support import free_port, until
from yarl import URL

from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names

SHOP = """
    import time
    from pathlib import Path
    from stem_amqp import Stem

    while Path("hold").exists():  # a process that starts now waits
        time.sleep(0.05)

    stem = Stem()

    @stem.task("orders.sync", queue="orders", ignore_result=True)
    async def sync() -> None:
        pass

    @stem.task("orders.block", queue="orders", ignore_result=True)
    async def block(seconds: float) -> None:
        time.sleep(seconds)

    try:
        from prometheus_client import Counter
    except ImportError:
        pass
    else:
        mine = Counter("shop_orders", "Orders.")

        @stem.task("orders.mine", queue="orders", ignore_result=True)
        async def count() -> None:
            mine.inc()
"""
PROBES = ("livez", "readyz", "startupz")


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path, stem_broker_url, stem_namespace):
    """Yield a command line in a directory with an application, and clean the broker afterwards."""
    entities = compile_topology(Topology.default(), Names(stem_namespace.name), ["orders"])
    stem_namespace.delete_later(
        exchanges=[exchange.name for exchange in entities.exchanges],
        queues=[queue.name for queue in entities.queues],
    )
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
        monkeypatch.setenv("STEM_NAMESPACE", stem_namespace.name)
        (tmp_path / "shared").mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "shared"))
        cli.write("shop.py", SHOP)
        yield cli


@pytest.fixture
def port():
    """Return a free port."""
    return free_port()


def get(port, page):
    """Return the status and the text of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metric(port, name):
    """Return the sum of a metric over its labels."""
    text = get(port, "metrics")[1]
    found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, flags=re.MULTILINE)
    return sum(map(float, found))


def enqueue(number, task="orders.sync", args="{}"):
    """Enqueue tasks from a separate process."""
    source = (
        "import asyncio, json\nfrom shop import stem\n"
        "async def main():\n async with stem:\n"
        f"  await stem.enqueue_many(stem.prepare({task!r}, {args}) for _ in range({number}))\n"
        "asyncio.run(main())"
    )
    env = os.environ | {"PYTHONPATH": f"{ROOT}:."}
    subprocess.run([sys.executable, "-c", source], env=env, check=True, timeout=60)


def children(process):
    """Return the worker processes of a supervisor."""
    return [
        int(pid)
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


@pytest.mark.timeout(450)
def test_one_port_has_the_sums_of_all_processes_also_after_one_was_killed(cli, port):
    """Counters of a killed process stay, and its successor continues with them."""
    words = ("--processes", "2", "--metrics-port", port, "--health-port", port, "-c", "5")
    with worker(cli, *words, ready=2) as process:
        until(lambda: get(port, "readyz") == (200, "ok\n"), "the state of both")
        enqueue(200)
        enqueue(10, "orders.mine")
        until(lambda: metric(port, "stem_succeeded_total") == 210, "the sum")
        assert metric(port, "shop_orders_total") == 10
        assert metric(port, "stem_capacity_tasks") == 10
        shared = files(cli)
        victim = children(process)[0]
        hold = cli.write("hold", "")
        os.kill(victim, signal.SIGKILL)
        until(lambda: metric(port, "stem_capacity_tasks") == 5, "the gauges of one process")
        assert get(port, "livez")[0] == 200
        assert "it does not run yet" in get(port, "readyz")[1]
        assert metric(port, "stem_succeeded_total") == 210
        hold.unlink()
        until(lambda: get(port, "readyz")[0] == 200, "the successor")
        enqueue(50)
        until(lambda: metric(port, "stem_succeeded_total") == 260, "the sum")
        assert metric(port, "stem_run_seconds_count") == 260
        assert files(cli) == shared
        check_format(get(port, "metrics")[1])
        shut_down(children(process)[0])
        until(lambda: len(children(process)) == 1, "the end of one process")
        until(lambda: get(port, "readyz") == (200, "ok\n"), "the state of the other one")
        assert metric(port, "stem_capacity_tasks") == 5
        assert metric(port, "stem_succeeded_total") == 260
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert list((cli.folder / "shared").iterdir()) == []


def test_a_scheduler_serves_its_metrics_alone(cli, port):
    """It has no worker, and therefore no probes."""
    cli.write(
        "ticking.py",
        """
        from stem_amqp import Stem

        stem = Stem()

        @stem.every("1s")
        @stem.task("orders.sync", queue="orders", ignore_result=True)
        async def sync() -> None:
            pass
        """,
    )
    words = ("scheduler", "ticking:stem", "--metrics-port", port, "--http-address", "127.0.0.1")
    with cli.process(*words) as process:
        until(lambda: f"serving /metrics on port {port}" in cli.log(), "the page")
        until(lambda: metric(port, "stem_schedule_ticks_total") >= 5, "ticks")
        assert metric(port, "stem_scheduler_leads") == 1
        assert metric(port, "stem_published_total") >= 5
        assert get(port, "livez")[0] == 404
        check_format(get(port, "metrics")[1])
        process.terminate()
        assert process.wait(timeout=60) == 0


def shut_down(pid):
    """Shut a worker down with the command, from a separate process."""
    words = ("control", "shutdown", "--app", "shop:stem", "--worker", f"*:{pid}:*", "--yes")
    ran = subprocess.run(
        [sys.executable, "-m", "stem_amqp", *words],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:."},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def files(cli):
    """Return the names of the files that the processes share."""
    return sorted(path.name for path in (cli.folder / "shared").glob("stem-amqp-*/*.db"))


def check_format(text):
    """Let Prometheus' own tool check a page, where it is installed."""
    tool = shutil.which("promtool")
    if tool:
        ran = subprocess.run(
            [tool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_blocked_event_loop_is_not_alive_and_metrics_still_answer(cli, port, processes):
    """Threads answer while a task blocks the event loop."""
    words = ("--processes", processes, "--metrics-port", port, "--health-port", port)
    with worker(cli, *words, ready=processes):
        until(lambda: [get(port, page)[0] for page in PROBES] == [200] * 3, "the states")
        enqueue(1, "orders.block", '{"seconds": 60}')
        until(lambda: get(port, "livez")[0] == 503, "503")
        text = get(port, "livez")[1]
        assert "the event loop has been blocked for" in text
        assert text.startswith("worker ") == (processes == 2)
        assert metric(port, "stem_event_loop_lag_seconds") > 3
        assert metric(port, "stem_running_tasks") == 1
        assert get(port, "other")[0] == 404


@pytest.mark.parametrize("processes", [1, 2])
def test_ports_that_cannot_be_used_do_not_stop_the_worker(cli, processes):
    """One line at ERROR, and tasks run."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("--processes", processes, "--metrics-port", port, "--health-port", port)
        with worker(cli, *words, ready=processes):
            enqueue(1)
            until(lambda: "orders.sync" in cli.log(), "the task")
    errors = [line for line in cli.log().splitlines() if " ERROR " in line]
    assert len(errors) == 1
    assert f"/metrics /livez /readyz /startupz are not served: port {port}" in errors[0]
    assert "in use" in errors[0]


def test_a_missing_package_does_not_stop_the_worker(cli, port):
    """One line at ERROR with the remedy; probes are served."""
    cli.write("prometheus_client/__init__.py", "raise ModuleNotFoundError('prometheus_client')\n")
    with worker(cli, "--metrics-port", port, "--health-port", port):
        enqueue(1)
        until(lambda: "orders.sync" in cli.log(), "the task")
        assert get(port, "livez")[0] == 200
        assert get(port, "metrics")[0] == 404
    errors = [line for line in cli.log().splitlines() if " ERROR " in line]
    assert len(errors) == 1
    assert "pip install 'stem-amqp[prometheus]'" in errors[0]


@pytest.mark.parametrize("words", [("--metrics-port", "70000"), ("--health-port", "x")])
def test_a_wrong_port_is_a_usage_error(cli, words):
    ran = cli("worker", "shop:stem", *words)
    assert ran.code == 2
    assert words[0] in ran.err


def test_an_unavailable_broker_makes_the_worker_unready_and_not_dead(
    cli, port, monkeypatch, stem_broker_url
):
    """A restart of the worker would not help."""
    with relay(stem_broker_url) as (url, cut):
        monkeypatch.setenv("STEM_BROKER_URL", url)
        with worker(cli, "--health-port", port):
            until(lambda: get(port, "readyz") == (200, "ok\n"), "a ready worker")
            cut()
            until(
                lambda: get(port, "readyz") == (503, "queue orders is not consumed\n"), "the reason"
            )
            assert get(port, "livez") == (200, "ok\n")
            assert get(port, "startupz") == (200, "ok\n")


@contextmanager
def relay(url):
    """Yield the URL of a relay to a broker, and a function that ends its connections for ever."""
    target = URL(url)
    listening = socket.create_server(("127.0.0.1", 0))
    opened = [listening]

    def pipe(source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def accept():
        with suppress(OSError):
            while True:
                near = listening.accept()[0]
                far = socket.create_connection((target.host, target.port or 5672))
                opened.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pipe, args=pair, daemon=True).start()

    def cut():
        for one in opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield str(target.with_host("127.0.0.1").with_port(listening.getsockname()[1])), cut
    finally:
        cut()
