"""A queue is replaced by its next version while tasks come and run, and the tool is killed again and again."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from faults.harness.account import until
from faults.harness.crew import HERE, crew_on

from stem_amqp.testing.private_rabbitmq import private_rabbitmq

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(240)]
RATE = 500
KILLS = 3
UNTOLD = 10
"""Tasks that come while one run binds and unbinds, 20 ms at that rate."""
CLASSIC = "{version: 1, queues: {q: {type: classic}}}"
QUORUM = "{version: 1, queues: {q: {version: 2, type: quorum}}}"


@pytest.fixture
def broker(stem_broker):
    """A broker with a management API: the session's, or one of our own."""
    if stem_broker.management_url is not None:
        yield stem_broker
        return
    with private_rabbitmq(management=True) as own:
        yield own


@pytest.fixture
def files(tmp_path):
    """The topology file before and after the change."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(CLASSIC)
    new.write_text(QUORUM)
    return str(old), str(new)


@pytest.fixture
def crew(broker, files, tmp_path):
    """Producers and workers, with the file from before the change."""
    fault = "queue migrated, tool killed three times"
    with crew_on(fault, tmp_path, broker.url, STEM_TOPOLOGY=files[0], FAULTS_PAUSE="0.01") as crew:
        yield crew
        print(crew.log()[-5000:])


class Tool:
    """One run of the tool.

    Args:
        crew: in whose namespace.
        broker: on which broker.
        file: the topology file.
    """

    def __init__(self, crew, broker, file):
        words = ["topology", "migrate", "-Q", "q", "--yes", "--json", "--timeout", "60s"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stem_amqp", *words],
            cwd=HERE,
            env=crew.environment
            | {"STEM_TOPOLOGY": file, "STEM_MANAGEMENT_URL": broker.management_url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []

    def until(self, pattern):
        """Read what it says until something matches."""
        for line in self.process.stderr:
            self.said.append(line)
            if re.search(pattern, line):
                return
        raise AssertionError(f"never said {pattern!r}: {self.said}")

    def kill(self):
        """Kill it."""
        self.process.send_signal(signal.SIGKILL)
        _, errors = self.process.communicate()
        self.said.append(errors)
        assert self.process.returncode == -signal.SIGKILL, self.said

    def end(self):
        """Wait for its end, and return what it printed."""
        out, errors = self.process.communicate(timeout=90)
        self.said.append(errors)
        assert self.process.returncode == 0, self.said
        return json.loads(out)


def test_a_queue_changes_its_type_under_load_and_no_task_is_lost(crew, broker, files, account):
    """From classic to quorum, with 500 tasks a second, two workers and a tool that dies three times."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(10_000))
    chance = random.Random(seed)
    print(f"FAULTS_SEED={seed} repeats it")
    _, new = files
    for _ in range(2):
        crew.work()
    crew.produce(rate=RATE)
    crew.ledger.progress("finished", 500)
    began, before = time.monotonic(), len(crew.ledger.read("asked"))
    outdated = list(crew.workers)
    for _ in range(2):
        crew.work(STEM_TOPOLOGY=new)
    crew.end(outdated)
    crew.ledger.progress("finished", 500)

    said = []
    patterns = ("is declared", "switched", r"\.q: ")
    assert len(patterns) == KILLS
    for pattern in patterns:
        tool = Tool(crew, broker, new)
        tool.until(pattern)
        time.sleep(chance.uniform(0, 0.03))  # anywhere in the step, also between two bindings
        tool.kill()
        said += tool.said
        crew.ledger.progress("finished", 200)
    tool = Tool(crew, broker, new)
    (report,) = tool.end()["queues"]
    asked, seconds = len(crew.ledger.read("asked")) - before, time.monotonic() - began
    said += tool.said
    print("".join(said))

    crew.ledger.progress("finished", 1000)
    crew.end(crew.producers)
    until(lambda: not crew.ledger.outstanding(), "every task", 40)
    codes = crew.end(crew.workers)
    assert not any(codes), crew.log()[-3000:]
    tally = account(crew.count(also=f"{crew.namespace}.q.v2"))
    print(f"{asked / seconds:.0f} tasks a second; {report}")
    assert tally.finished == tally.acknowledged
    assert not tally.dead
    assert not tally.refused
    assert not report["left"]
    # a run that is killed while it switches cannot tell what came in meanwhile
    assert tally.repeated <= sum(_bounds(said)) + KILLS * UNTOLD
    assert crew.queues() == {f"{crew.namespace}.q.v2"}


def _bounds(lines):
    """Return how many tasks may be in both queues, as each run told."""
    return [int(found[1]) for line in lines for found in re.finditer(r"at most (\d+) tasks", line)]
