"""Networks that are cut, half-open and slow, between the broker and everybody who talks to it."""

import subprocess

import pytest
from faults.harness.account import until
from faults.harness.proxy import DOWN, UP, proxy_to

pytestmark = pytest.mark.timeout(120)  # on nodes of their own, so not again for another broker
QUICK = {"STEM_AMQP_HEARTBEAT": "2s", "STEM_PUBLISH_TIMEOUT": "3s"}
RECONNECTS = 200
LINKS = 2
"""Connections of a worker: one consumes, one publishes."""


@pytest.fixture
def proxy(node):
    """A proxy to the node."""
    with proxy_to(node.port) as proxy:
        yield proxy


@pytest.fixture
def crew_behind(make_crew, proxy):
    """Make crews behind the proxy."""

    def make(fault, **options):
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
        return make_crew(fault, via=url, **options)

    return make


def test_a_network_cut_both_ways_loses_nothing(crew_behind, proxy, account):
    """Three times everything is cut, and nobody gets through for a while."""
    crew = crew_behind("network cut both ways, three times")
    crew.under_load()
    for _ in range(3):
        proxy.refuse()
        crew.ledger.progress("asked", 10)
        proxy.start()
        crew.ledger.recovered()
    account(crew.finish())


@pytest.mark.parametrize("directions", [(UP,), (DOWN,), (UP, DOWN)], ids="-".join)
def test_a_half_open_network_is_found_out_by_heartbeats(crew_behind, proxy, account, directions):
    """The sockets stay open, and nothing comes through in one direction or in both."""
    crew = crew_behind(f"network half-open: {' and '.join(directions)}", **QUICK)
    crew.under_load()
    proxy.half_open(*directions)
    crew.ledger.recovered()
    account(crew.finish())


def test_a_slow_network_only_makes_slow(crew_behind, proxy, account):
    """A tenth of a second for each chunk, either way."""
    crew = crew_behind("network slow: 100 ms each way")
    crew.under_load()
    proxy.delay = 0.1
    crew.ledger.recovered()
    crew.ledger.progress("finished", 100)
    proxy.delay = 0.0
    tally = account(crew.finish())
    assert tally.repeated == 0
    assert not tally.refused


def test_two_hundred_reconnects_leave_nothing_behind(crew_behind, proxy, node, account):
    """The worker's memory, its channels and its consumers are those of the beginning."""
    crew = crew_behind("200 reconnects of a worker")
    worker = crew.work()
    assert crew.produce(count=20).wait(20) == 0
    until(lambda: len(crew.ledger.read("finished")) == 20, "the first tasks")
    until(lambda: proxy.open == LINKS, "the worker's connections alone")
    at_first = channels_and_consumers(node)
    for number in range(RECONNECTS):
        proxy.cut()
        until(lambda: proxy.open >= LINKS, "new connections")
        if number == RECONNECTS // 4:
            before = memory(worker)
    assert crew.produce(count=20).wait(20) == 0
    until(lambda: len(crew.ledger.read("finished")) == 40, "the last tasks", 30)
    until(lambda: channels_and_consumers(node) == at_first, f"these again: {at_first}")
    grown = memory(worker) - before
    print(f"memory: {before} KiB, and {grown} KiB more after {RECONNECTS * 3 // 4} reconnects")
    account(crew.finish())
    assert grown < 8192


def channels_and_consumers(node):
    """Return how many channels each connection has, and which queues have consumers."""
    channels = node.ctl("list_connections", "channels").split()
    return sorted(channels), sorted(node.ctl("list_consumers", "queue_name").split())


def memory(process):
    """Return how much memory a process occupies, in KiB."""
    done = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)
