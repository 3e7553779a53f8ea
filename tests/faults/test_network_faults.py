"""Test networks between the broker and its clients that are cut, half-open or slow."""

import subprocess

import pytest
from faults.harness.proxy import DOWN, UP, proxy_to
from support import until

pytestmark = pytest.mark.timeout(300)  # uses private nodes: not marked as rabbitmq
QUICK = {"STEM_AMQP_HEARTBEAT": "2s", "STEM_PUBLISH_TIMEOUT": "3s"}
RECONNECTS = 200
LINKS = 2
"""The number of connections of a worker: one consumes, one publishes."""


@pytest.fixture
def proxy(node):
    """Yield a proxy to the node."""
    with proxy_to(node.port) as proxy:
        yield proxy


@pytest.fixture
def crew_behind(make_crew, proxy):
    """Return a function that makes crews behind the proxy."""

    def make(fault, **options):
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
        return make_crew(fault, via=url, **options)

    return make


def test_a_network_cut_both_ways_loses_nothing(crew_behind, proxy, account):
    """No task is lost when connections are aborted and refused for a while, three times."""
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
    """Heartbeats detect open sockets that transfer nothing in one direction or in both."""
    crew = crew_behind(f"network half-open: {' and '.join(directions)}", **QUICK)
    crew.under_load()
    proxy.half_open(*directions)
    crew.ledger.recovered()
    account(crew.finish())


def test_a_slow_network_only_makes_slow(crew_behind, proxy, account):
    """A delay of 100 ms in each direction neither repeats nor refuses a task."""
    crew = crew_behind("network slow: 100 ms each way")
    crew.under_load()
    proxy.delay = 0.1
    crew.ledger.recovered()
    crew.ledger.progress("finished", 100)
    proxy.delay = 0.0
    tally = account(crew.finish())
    assert tally.repeated == 0
    assert not tally.refused


@pytest.mark.timeout(750)  # 10 s of work, on a machine that does other work as well
def test_two_hundred_reconnects_leave_nothing_behind(crew_behind, proxy, node, account):
    """200 reconnects change neither channels nor consumers of a worker, and its memory little."""
    crew = crew_behind("200 reconnects of a worker")
    worker = crew.work()
    assert crew.produce(count=20).wait(60) == 0
    until(lambda: len(crew.ledger.read("finished")) == 20, "the first tasks")
    until(lambda: proxy.open == LINKS, "the worker's connections alone")
    at_first = channels_and_consumers(node)
    for number in range(RECONNECTS):
        proxy.cut()
        # A connection that is cut in its handshake counts as a failure, and the next one is tried later
        until(lambda: proxy.ready >= LINKS, "new connections")
        if number == RECONNECTS // 4:
            before = memory(worker)
    assert crew.produce(count=20).wait(60) == 0
    until(lambda: len(crew.ledger.read("finished")) == 40, "the last tasks", 60)
    until(lambda: channels_and_consumers(node) == at_first, f"these again: {at_first}")
    grown = memory(worker) - before
    print(f"memory: {before} KiB, and {grown} KiB more after {RECONNECTS * 3 // 4} reconnects")
    account(crew.finish())
    assert grown < 8192


def channels_and_consumers(node):
    """Return the number of channels of each connection, and the queues that have consumers."""
    channels = node.ctl("list_connections", "channels").split()
    return sorted(channels), sorted(node.ctl("list_consumers", "queue_name").split())


def memory(process):
    """Return the resident memory of a process, in KiB."""
    done = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)
