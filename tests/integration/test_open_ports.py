"""Test that private servers, whose passwords are known, listen on the loopback interface only."""

import ipaddress
import os
from contextlib import suppress
from pathlib import Path

import pytest

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.rabbitmq.private import find_programs, private_rabbitmq

LISTENING = "0A"


def descendants(pid):
    """Yield the ids of a process's children, and of their children."""
    children = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            children += task.read_text().split()
    for child in children:
        yield child
        yield from descendants(child)


def sockets_of(pids):
    """Return the inodes of the open sockets of processes."""
    inodes = set()
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            for entry in Path(f"/proc/{pid}/fd").glob("*"):
                with suppress(FileNotFoundError):  # closed meanwhile
                    target = str(entry.readlink())
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
    return inodes


def address_of(text):
    """Return an address that the kernel writes in hexadecimal, in words of its byte order."""
    raw = bytes.fromhex(text)
    words = [raw[start : start + 4][::-1] for start in range(0, len(raw), 4)]
    return ipaddress.ip_address(b"".join(words))


def listeners(pids):
    """Return the addresses and ports on which processes listen."""
    inodes = sockets_of(pids)
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            address, _, port = words[1].partition(":")
            if words[3] == LISTENING and words[9] in inodes:
                found.add((address_of(address), int(port, 16)))
    return found


def opened_since(before):
    """Return the addresses on which new child processes of this process listen."""
    return listeners(set(descendants(os.getpid())) - before)


@pytest.mark.timeout(300)
def test_a_private_rabbitmq_listens_on_the_loopback_interface_alone():
    """This holds for AMQP, the management API, the distribution port and epmd."""
    try:
        find_programs()
    except BrokerUnavailableError as error:
        pytest.skip(str(error))
    before = set(descendants(os.getpid()))
    with private_rabbitmq(management=True) as node:
        found = opened_since(before)
        ports = {int(url.rstrip("/").rpartition(":")[2]) for url in (node.url, node.management_url)}
    assert ports <= {port for _, port in found}
    assert len({port for _, port in found}) >= 4
    assert [str(address) for address, _ in found if not address.is_loopback] == []


def test_a_private_redis_listens_on_the_loopback_interface_alone(private_redis_installed):
    """Its only port is open to this machine only."""
    from stem_amqp.servers.redis.private import private_redis

    before = set(descendants(os.getpid()))
    with private_redis() as server:
        found = opened_since(before)
    assert server.port in {port for _, port in found}
    assert [str(address) for address, _ in found if not address.is_loopback] == []


@pytest.mark.timeout(300)
def test_a_private_postgres_listens_on_the_loopback_interface_alone(own_postgres):
    """Its only port is open to this machine only."""
    found = listeners(set(descendants(os.getpid())))
    assert own_postgres.port in {port for _, port in found}
    assert [str(address) for address, _ in found if not address.is_loopback] == []
