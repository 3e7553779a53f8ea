"""A private RabbitMQ, three workers, an exporter, a load and Prometheus; and what they show."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml
from cli_support import ROOT
from faults.harness.node import Node, node_folder
from support import until

from stem_amqp.servers.keeping import free_ports
from stem_amqp.servers.rabbitmq.handshake import management_answers

HERE = Path(__file__).parent
ALERTS = ROOT / "examples" / "monitoring" / "alerts.yml"
TOPOLOGY = """
version: 1
namespace: rehearsal
queues:
  orders: {}
  payments: {max_ready_age: 1s}
"""
WORKERS = 3
SLOTS = 2
"""Tasks that a worker runs at once from each queue."""
PATIENCE = 180.0


def answer(url):
    """Return status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=60) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Stage:
    """What runs, and what it shows.

    Args:
        folder: the working directory of all processes.
        stack: ends the processes.
    """

    def __init__(self, folder, stack):
        self.folder = folder
        self._stack = stack
        self.worker_port, self._exporter_port, self._prometheus_port = free_ports(3)

    def start(self):
        """Start everything, and return once all workers consume and Prometheus has scraped them."""
        self._start_broker()
        (self.folder / "topology.yaml").write_text(TOPOLOGY)
        port = str(self.worker_port)
        ports = ("--metrics-port", port, "--health-port", port, "--http-address", "127.0.0.1")
        size = ("--processes", str(WORKERS), "--concurrency", str(SLOTS))
        worker = self._run("worker", *STEM, "worker", "shop:stem", *size, *ports)
        exporter = ("--host", "127.0.0.1", "--port", str(self._exporter_port), "--interval", "1s")
        self._run("exporter", *STEM, "exporter", "shop:stem", *exporter)
        self._load = self._run("load", sys.executable, HERE / "load.py", stdin=subprocess.PIPE)
        self._start_prometheus()

        def ready():
            assert worker.poll() is None, self.log()
            return self.probe("readyz") == (200, "ok\n")

        until(ready, "the workers", PATIENCE)
        self.until("stem_capacity_tasks", lambda value: value == WORKERS * SLOTS * 2)
        self.until("stem_broker_up", lambda value: value == 1)

    def _start_broker(self):
        folder, epmd = self._stack.enter_context(node_folder())
        home = folder / "node"
        home.mkdir()
        (http,) = free_ports(1)
        settings = (
            f"management.tcp.port = {http}",
            "management.tcp.ip = 127.0.0.1",
            "collect_statistics_interval = 1000",
        )
        self.node = Node(home, epmd, settings=settings)
        (home / "enabled_plugins").write_text("[rabbitmq_management].\n")
        self._stack.callback(self.node.kill)
        self.node.start()
        management = f"http://127.0.0.1:{http}"
        until(lambda: management_answers(management, "guest:guest"), "the management API")
        outside = {name: value for name, value in os.environ.items() if "STEM_" not in name}
        self._environment = outside | {
            "COLUMNS": "100",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}",
            "STEM_BROKER_URL": self.node.url,
            "STEM_BACKEND_URL": f"sqlite:///{self.folder}/results.db",
            "STEM_MANAGEMENT_URL": management,
            "STEM_TOPOLOGY": "topology.yaml",
            "STEM_PUBLISH_TIMEOUT": "2s",
            "STEM_HEARTBEAT_INTERVAL": "1s",
        }

    def _start_prometheus(self):
        rules = yaml.safe_load(ALERTS.read_text())
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            rule["for"] = "0s"  # the time for which a condition has to hold is tested with promtool
        (self.folder / "alerts.yml").write_text(yaml.safe_dump(rules))
        targets = [f"127.0.0.1:{port}" for port in (self.worker_port, self._exporter_port)]
        config = {
            "global": {"scrape_interval": "2s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{"job_name": "stem", "static_configs": [{"targets": targets}]}],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._run(
            "prometheus",
            prometheus(),
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=tsdb",
            f"--web.listen-address=127.0.0.1:{self._prometheus_port}",
        )

    def _run(self, name, *words, stdin=subprocess.DEVNULL):
        log = self._stack.enter_context((self.folder / f"{name}.log").open("w"))
        out = subprocess.PIPE if stdin == subprocess.PIPE else log
        process = subprocess.Popen(
            list(map(str, words)),
            cwd=self.folder,
            env=self._environment | {"REPORTS": "1" if name in {"worker", "load"} else ""},
            stdin=stdin,
            stdout=out,
            stderr=log,
            text=True,
        )

        def end():
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

        self._stack.callback(end)
        return process

    @contextmanager
    def fault(self, name):
        """Let a fault of the application last during the block."""
        place = self.folder / name
        place.touch()
        try:
            yield
        finally:
            place.unlink()

    def enqueue(self, task, number=1):
        """Enqueue tasks, and return their ids."""
        self._load.stdin.write(f"{task} {number}\n")
        self._load.stdin.flush()
        return self._load.stdout.readline().split()

    def command(self, *words):
        """Run a command of the command line; return exit code, output and errors."""
        ran = subprocess.run(
            [*STEM, *words],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return ran.returncode, " ".join(ran.stdout.split()), ran.stderr

    def follow_events(self, *words):
        """Begin to follow events, and return a function that returns those so far."""
        self._run("events", *STEM, "events", "shop:stem", "--json", *words)
        return lambda: list(map(json.loads, whole_lines(self.folder / "events.log")))

    def log(self, name="worker"):
        """Return the log of a process."""
        return (self.folder / f"{name}.log").read_text()

    def probe(self, name):
        """Return the answer of a probe of the workers."""
        try:
            return answer(f"http://127.0.0.1:{self.worker_port}/{name}")
        except OSError:
            return None

    def value(self, expression):
        """Return the sum of an expression in Prometheus, 0 if it has no value."""
        found = self._ask("query", query=f"sum({expression})")["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def until(self, expression, holds):
        """Wait until a condition on the sum of an expression in Prometheus holds."""
        until(lambda: holds(self.value(expression)), expression, PATIENCE)

    def until_alert(self, name, **labels):
        """Wait until an alert with these labels fires."""

        def fires():
            return any(
                alert["state"] == "firing"
                and {"alertname": name, **labels}.items() <= alert["labels"].items()
                for alert in self._ask("alerts")["alerts"]
            )

        until(fires, name, PATIENCE)

    def _ask(self, what, **parameters):
        url = f"http://127.0.0.1:{self._prometheus_port}/api/v1/{what}?{urlencode(parameters)}"
        try:
            status, text = answer(url)
        except OSError:
            status, text = 503, ""
        return json.loads(text)["data"] if status == 200 else {"result": [], "alerts": []}

    def until_runs(self, task_id, number):
        """Wait until a task has this number of spans of runs; return them, oldest first."""

        def runs():
            return [
                span
                for span in self._documents("spans")
                if span["kind"] == "SpanKind.CONSUMER"
                and span["attributes"]["messaging.message.conversation_id"] == task_id
            ]

        found = until(lambda: len(found := runs()) >= number and found, "the spans", PATIENCE)
        return sorted(found, key=lambda span: span["start_time"])

    def children(self, parent):
        """Return the spans whose parent is this span."""
        span_id = parent["context"]["span_id"]
        return [span for span in self._documents("spans") if span["parent_id"] == span_id]

    def sentry_events(self, task):
        """Return the Sentry events of a task's name."""
        return [
            event
            for event in self._documents("sentry")
            if event.get("tags", {}).get("stem.task") == task
        ]

    def _documents(self, kind):
        files = sorted(self.folder.glob(f"{kind}-*.jsonl"))
        return [json.loads(line) for file in files for line in whole_lines(file)]


STEM = (sys.executable, "-m", "stem_amqp")


def whole_lines(path):
    """Return the lines of a file that are complete."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def prometheus():
    """Return the program; skip the test without it."""
    program = shutil.which("prometheus")
    if program is None:
        assert os.environ.get("CI") != "true", "Prometheus is not installed"
        pytest.skip("Prometheus is not installed (Debian's package prometheus)")
    return program


@contextmanager
def stage(folder):
    """Yield everything, running, and end it afterwards."""
    with ExitStack() as stack:
        one = Stage(folder, stack)
        one.start()
        yield one
