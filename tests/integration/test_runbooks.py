"""The runbooks of ``docs/control.md`` and ``docs/limits.md``: their commands do what they say, in their order."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest
from cli_support import worker
from support import until

from stem_amqp.health import pauses
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names

DOCS = Path(__file__).parents[2] / "docs"
SHOP = """
    import asyncio
    from pathlib import Path
    from stem_amqp import Stem

    stem = Stem(backend_url="memory://")

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(number: int) -> None:
        if Path("down").exists():
            raise ConnectionError("the ERP is down")
        with Path("done").open("a") as file:
            file.write(f"{number}\\n")
        while Path("endless").exists():
            await asyncio.sleep(0.05)
"""
TOPOLOGY = """
    version: 1
    queues:
      orders: {}
"""


class Runbook:
    """Carries out the commands of a section of the page, as they are written, one by one.

    Args:
        cli: the command line.
        heading: the heading of the section.
        page: the page.
        **values: what to write in place of the words in capitals.
    """

    def __init__(self, cli, heading, page="control.md", **values):
        self.section = section = (
            (DOCS / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        )
        self._commands = [
            [values.get(word, word) for word in shlex.split(command)]
            for command in re.findall(r"`stem-amqp\s([^`]+)`", section)
        ]
        self._cli = cli

    def run(self, *begin):
        """Run the next command, which begins with these words, and return what it printed."""
        words = self._commands.pop(0)
        assert words[: len(begin)] == list(begin)
        ran = self._cli(*words)
        assert ran.code == 0, (words, ran)
        return " ".join((ran.out + ran.err).split())

    def ends(self):
        """Check that no command is left."""
        assert self._commands == []


class Shop:
    """The application in the command line's folder."""

    def __init__(self, cli):
        self._cli = cli
        self._folder = cli.folder

    def mark(self, name):
        """Return a file whose existence changes how tasks run."""
        return self._folder / name

    def enqueue(self, number):
        """Enqueue a task."""
        given = ("--args", f'{{"number": {number}}}')
        assert self._cli("enqueue", "orders.sync", *given, "--app", "shop:stem").code == 0

    def done(self):
        """Return the numbers of the tasks that have begun, sorted."""
        path = self.mark("done")
        return sorted(map(int, path.read_text().split())) if path.exists() else []

    def waiting(self):
        """Return how many messages are ready in the queue, and in that of the paused task."""
        document = self._cli("queues", "--json").json
        (orders,) = [one for one in document["queues"] if one["queue"] == "orders"]
        return orders["ready"], sum(one["messages"] or 0 for one in document["held"])

    def dead(self):
        """Return how many dead letters there are."""
        return len(self._cli("dlq", "list", "orders", "--json").json["letters"])


@pytest.fixture
def cli(cli_on_rabbitmq, monkeypatch, stem_namespace):
    """Return a command line with an application, and a topology file that the settings name."""
    cli_on_rabbitmq.write("shop.py", SHOP)
    monkeypatch.setenv("COLUMNS", "250")  # no text is wrapped
    # a slow machine has time for answers
    monkeypatch.setenv("STEM_HEARTBEAT_INTERVAL", "30s")
    monkeypatch.setattr(pauses, "PATIENCE", 60.0)
    monkeypatch.setenv("STEM_TOPOLOGY", str(cli_on_rabbitmq.write("topology.yaml", TOPOLOGY)))
    name = stem_namespace.name
    stem_namespace.delete_later(
        exchanges=[f"{name}.zz-paused"], queues=[f"{name}.zz-paused.orders:orders.sync"]
    )
    return cli_on_rabbitmq


def test_when_a_downstream_is_down(cli):
    """What is enqueued during a pause waits and fails no run; it runs after the resume."""
    shop, book = Shop(cli), Runbook(cli, "When a downstream is down")
    with worker(cli, "--name", "web", "-c", "1"):
        shop.mark("down").touch()
        shop.enqueue(1)
        until(lambda: shop.dead() == 1, "the dead letter")
        assert "orders" in book.run("queues")
        assert "the ERP is down" in book.run("dlq", "list")

        book.run("control", "pause", "--task")
        shop.enqueue(2)
        until(lambda: shop.waiting() == (0, 1), "the message beside the queue")
        book.run("control", "pause", "--queue")
        shop.enqueue(3)
        until(lambda: shop.waiting() == (1, 1), "the message in the queue")
        seen = book.run("queues")
        assert "paused tasks orders.sync: 1 message" in seen
        assert "orders is paused" in seen
        in_force = book.run("control", "history", "--in-force")
        assert "pause queue orders" in in_force
        assert "pause task orders.sync" in in_force
        assert "ERP-down" in in_force

        shop.mark("down").unlink()
        book.run("control", "resume", "--queue")
        until(lambda: shop.waiting() == (0, 2), "the message of a task that is paused still")
        assert shop.done() == []
        book.run("control", "resume", "--task")
        until(lambda: shop.done() == [2, 3], "the runs after the resume")
        assert "pause" not in book.run("control", "history", "--in-force")
        book.run("queues")
        book.run("control", "rate-limit")
        book.run("dlq", "replay")
        until(lambda: shop.done() == [1, 2, 3], "the run of the dead letter")
        book.run("control", "rate-limit", "orders.sync", "reset")
        assert (shop.waiting(), shop.dead()) == ((0, 0), 0)
    book.ends()


def test_stop_a_runaway_task(cli):
    """Its run ends, what is queued is dropped, and what is enqueued later runs."""
    shop, book = Shop(cli), Runbook(cli, "Stop a runaway task", NAME="web")
    with worker(cli, "--name", "web", "-c", "2") as process:
        shop.mark("endless").touch()
        shop.enqueue(1)
        until(lambda: shop.done() == [1], "the run")
        book.run("control", "pause", "--task")
        shop.enqueue(2)
        until(lambda: shop.waiting() == (0, 1), "the message beside the queue")
        tried = book.run("control", "revoke", "--task")
        assert "1 run that match" in tried
        assert "of paused tasks: orders.sync 1" in tried
        assert "ended" in book.run("control", "revoke", "--task")
        book.run("control", "shutdown", "--cold")
        assert process.wait(timeout=60) == 0
    shop.mark("endless").unlink()
    with worker(cli, "--name", "web", "-c", "1"):
        book.run("control", "resume", "--task")
        shop.enqueue(3)
        until(lambda: shop.done() == [1, 3], "the run of the task that was enqueued later")
        until(lambda: shop.waiting() == (0, 0), "the end of what was queued")
    did = book.run("control", "history")
    for what in ("pause task", "revoke task", "shutdown cold", "end of pause task"):
        assert what in did
    assert shop.done() == [1, 3]
    book.ends()


IMPORTS = """
    from pathlib import Path
    from stem_amqp import Stem, TaskContext

    stem = Stem()

    @stem.task("imports.load", queue="imports", ignore_result=True)
    async def load(ctx: TaskContext) -> None:
        with Path("done").open("a") as file:
            file.write(f"{ctx.meta['tenant']}\\n")
"""


def test_one_tenant_floods_us(cli, monkeypatch, stem_namespace):
    """The task of another tenant, behind a flood, runs soon; the flood waits, and nothing of it is lost."""
    entities = compile_topology(Topology.default(), Names(stem_namespace.name), ["imports"])
    stem_namespace.delete_later(
        exchanges=[exchange.name for exchange in entities.exchanges],
        queues=[queue.name for queue in entities.queues],
    )
    monkeypatch.setenv("STEM_BACKEND_URL", f"sqlite:///{cli.folder / 'limits.db'}")
    cli.write("shop.py", IMPORTS)
    cli.write("topology.yaml", "version: 1\nqueues:\n  imports: {}\n")
    assert cli("topology", "apply", "--app", "shop:stem").code == 0
    for tenant in ["acme"] * 7 + ["globex"]:
        words = ("imports.load", "--app", "shop:stem", "--meta", f"tenant={tenant}")
        assert cli("enqueue", *words).code == 0

    def done(tenant):
        path = cli.folder / "done"
        return path.read_text().split().count(tenant) if path.exists() else 0

    book = Runbook(cli, "One tenant floods us", page="limits.md")
    assert "imports 8 " in book.run("queues")
    (written,) = re.findall(r"```yaml\n(.*?)```", book.section, flags=re.DOTALL)
    # a slower rate than the page's, so that a slow machine is faster than the flood
    cli.write("topology.yaml", textwrap.dedent(written).replace("10/s", "1/h"))
    with worker(cli, "-c", "1"):
        until(lambda: done("globex") == 1, "the task of the other tenant")
        assert re.search(r"queue:imports .*acme", book.run("limits"))
        until(
            lambda: cli("queues", "--json").json["delayed"]["total"] == 6,
            "the wait of all others of the flood",
        )
        assert done("acme") == 1
    book.ends()
