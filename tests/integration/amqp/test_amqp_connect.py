"""Test connecting to a real broker: the failures, and what their errors say."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from stem_amqp.errors import BrokerRefusedError, BrokerUnavailableError
from stem_amqp.topology.entities import Entities
from stem_amqp.transport.publication import Publication


@pytest.fixture
def dead_port():
    """Yield a port that nothing listens on, and that no other process can take meanwhile."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


@asynccontextmanager
async def listener(serve):
    """Listen with a server that is not a broker, and yield its URL."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


async def test_a_wrong_password_is_refused_without_being_shown(bench):
    """The error names the user and the setting, and does not contain the password."""
    url = str(URL(bench.url).with_password("s3cret"))
    with pytest.raises(BrokerRefusedError, match=r"refused user 'guest'.*\n.*STEM_BROKER_URL") as e:
        await bench.connect(url)
    assert "s3cret" not in str(e.value)


async def test_a_wrong_virtual_host_is_refused(bench):
    """The error has the broker's own message, which aiormq drops."""
    url = str(URL(bench.url).with_path("/nowhere"))
    with pytest.raises(BrokerRefusedError, match=r"virtual host 'nowhere'.*NOT_ALLOWED.*nowhere"):
        await bench.connect(url)


async def test_a_dead_port_is_named(bench, dead_port):
    """The error says to start a broker or to set the URL."""
    with pytest.raises(
        BrokerUnavailableError, match=rf":{dead_port}: nothing listens there; start a br"
    ):
        await bench.connect(f"amqp://u:s3cret@127.0.0.1:{dead_port}/")


async def test_an_unknown_host_is_named(bench):
    """The error differs from that of a broker that is down."""
    with pytest.raises(BrokerUnavailableError, match=r"'no\.such\.invalid' is unknown"):
        await bench.connect("amqp://no.such.invalid/")


async def test_a_silent_port_times_out(bench):
    """The connect times out if a server listens and sends nothing."""

    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async with listener(silent) as url:
        with pytest.raises(BrokerUnavailableError, match=r"no answer within 0\.2 s"):
            await bench.connect(url, connect_timeout=0.2)


async def test_another_protocol_is_distinguished_from_amqp(bench):
    """The error says that the server speaks another protocol."""

    async def stranger(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + b"\0" * 100)
        writer.close()

    async with listener(stranger) as url:
        with pytest.raises(BrokerUnavailableError, match="does not speak AMQP"):
            await bench.connect(url, connect_timeout=60)


async def test_the_next_url_is_tried(bench, dead_port):
    """If the first broker is down, the next URL is used."""
    transport = await bench.connect(f"amqp://127.0.0.1:{dead_port}/", bench.url)
    await bench.send(transport, await bench.queue(transport), b"x")
    assert (await transport.connect()).product == "RabbitMQ"


async def test_all_urls_are_named_when_none_can_be_used(bench, dead_port):
    """The error names every URL; a refusal takes precedence over a broker that is down."""
    dead, wrong = f"amqp://127.0.0.1:{dead_port}/", str(URL(bench.url).with_password("s3cret"))
    with pytest.raises(BrokerRefusedError, match=r"nothing listens(?s:.*)refused user"):
        await bench.connect(dead, wrong)


async def test_a_lost_connection_fails_over_to_the_next_url(bench):
    """The transport connects to the second broker when the first one stops."""
    parts = URL(bench.url)
    writers = []

    async def pump(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def forward(reader, writer):
        there, back = await asyncio.open_connection(parts.host, parts.port)
        writers.extend((writer, back))
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    changes = []
    async with listener(forward) as url:
        transport = await bench.connect(url, bench.url)
        transport.on_connection_change = changes.append
        queue = await bench.queue(transport)
    for writer in writers:
        writer.transport.abort()
    await bench.send(transport, queue, b"x")
    await bench.eventually(lambda: len(changes) == 2, "both reports")
    assert [change.restored for change in changes] == [False, True]
    assert transport._publishing._link.url.port == parts.port


async def test_without_connect_nothing_is_sent(bench):
    """The error says that `connect` is missing."""
    transport = await bench.connect()
    await transport.close()
    for call in (
        transport.connect(),
        transport.declare(Entities()),
        transport.consume("q", print, prefetch=1, tag="t"),
        transport.publish(Publication(exchange="", routing_key="q", body=b"")),
    ):
        with pytest.raises(BrokerUnavailableError, match="the transport is closed"):
            await call


async def test_a_cancelled_connect_leaves_nothing_open(bench):
    """No socket and no asyncio task is left, which the bench checks."""
    heard = asyncio.Event()
    ended = asyncio.Event()

    async def silent(reader, writer):
        await reader.readexactly(8)
        heard.set()
        await reader.read()
        ended.set()
        writer.close()

    async with listener(silent) as url:
        connecting = asyncio.create_task(bench.connect(url))
        await heard.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await bench.transports[-1].close()
        await asyncio.wait_for(ended.wait(), 60)
