"""A broker that follows a script, for behaviour that a real one shows only in a failure."""

import asyncio
import time
from dataclasses import dataclass, field

import pamqp.frame
import pytest
from pamqp import body, commands, header, heartbeat
from pamqp.exceptions import PAMQPException

from stem_amqp.transport.amqp.transport import AmqpTransport

PATIENCE = 60.0
CAPABILITIES = {
    "publisher_confirms": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
}


async def _eventually(holds, what="the condition"):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come true"
        await asyncio.sleep(0.005)


@dataclass
class Message:
    """A message that was published."""

    frame: object
    header: object = None
    body: bytes = b""


@dataclass
class Channel:
    """A channel of a link."""

    link: object
    number: int
    confirms: int = 0
    message: Message | None = None
    settled: list = field(default_factory=list)

    def send(self, *frames):
        """Send frames to the client."""
        self.link.send(self.number, *frames)

    def close(self, code, text):
        """Close the channel as a broker does after a protocol error."""
        self.link.channels.pop(self.number, None)
        self.link.closing.add(self.number)
        self.send(commands.Channel.Close(code, text, 0, 0))

    def deliver(self, tag, number, payload=b"x"):
        """Deliver a message to a consumer."""
        self.send(
            commands.Basic.Deliver(tag, number, False, "", "q"),
            header.ContentHeader(body_size=len(payload)),
            *([body.ContentBody(payload)] if payload else []),
        )


class Link:
    """One client's connection."""

    def __init__(self, broker, writer):
        self.broker = broker
        self.writer = writer
        self.name = ""
        self.channels = {}
        self.closing = set()

    def send(self, number, *frames):
        """Send frames."""
        for frame in frames:
            self.writer.write(pamqp.frame.marshal(frame, number))

    def take(self, number, frame):
        """Answer a frame of the client."""
        if isinstance(frame, header.ProtocolHeader):
            self.send(0, self.broker.greeting())
        elif isinstance(frame, commands.Connection.StartOk):
            self.name = frame.client_properties["connection_name"]
            self.broker.introduced.append(frame.client_properties)
            self.send(0, commands.Connection.Tune(2047, 131072, 60))
        elif isinstance(frame, commands.Connection.Open):
            self.send(0, commands.Connection.OpenOk())
        elif isinstance(frame, commands.Connection.Close):
            self.send(0, commands.Connection.CloseOk())
            self.writer.close()
        elif isinstance(frame, heartbeat.Heartbeat):
            self.send(0, heartbeat.Heartbeat())
        elif isinstance(frame, commands.Channel.Open):
            self.channels[number] = Channel(self, number)
            self.send(number, commands.Channel.OpenOk())
        elif number in self.channels:
            self.take_on_channel(self.channels[number], frame)
        elif isinstance(frame, commands.Channel.CloseOk):
            self.closing.discard(number)
        elif number and number not in self.closing:
            self.broker.strays.append((number, frame))  # a real broker would close the connection

    def take_on_channel(self, channel, frame):  # noqa: C901 - a case for each kind of frame
        """Answer a frame of an open channel."""
        answers = {
            commands.Confirm.Select: commands.Confirm.SelectOk,
            commands.Basic.Qos: commands.Basic.QosOk,
            commands.Channel.Close: commands.Channel.CloseOk,
            commands.Queue.Delete: lambda: commands.Queue.DeleteOk(0),
        }
        if isinstance(frame, commands.Channel.Close):
            self.broker.before_close_ok(channel)
        if type(frame) in answers:
            channel.send(answers[type(frame)]())
            if isinstance(frame, commands.Channel.Close):
                self.channels.pop(channel.number)
        elif isinstance(frame, commands.Queue.Declare):
            self.declare(channel, frame)
        elif isinstance(frame, commands.Basic.Consume):
            if not self.broker.answers_consume:
                return
            channel.send(commands.Basic.ConsumeOk(frame.consumer_tag))
            self.broker.consuming.append(channel)
        elif isinstance(frame, commands.Basic.Cancel) and self.broker.answers_cancel:
            channel.send(commands.Basic.CancelOk(frame.consumer_tag))
        elif isinstance(frame, commands.Basic.Ack | commands.Basic.Nack | commands.Basic.Reject):
            channel.settled.append(frame)
        elif isinstance(frame, commands.Basic.Publish):
            channel.message = Message(frame)
        elif isinstance(frame, header.ContentHeader):
            channel.message.header = frame
            self.complete(channel)
        elif isinstance(frame, body.ContentBody):
            channel.message.body += frame.value
            self.complete(channel)

    def declare(self, channel, frame):
        """Declare a queue, unless another connection has it or its node is down."""
        self.broker.asked.append((self.name, frame.queue))
        if frame.queue in self.broker.locked:
            channel.close(405, f"RESOURCE_LOCKED - locked queue '{frame.queue}'")
        elif len(self.broker.asked) <= self.broker.down_for:
            channel.close(
                404,
                f"NOT_FOUND - home node 'rabbit@a' of durable queue '{frame.queue}' in vhost '/' is"
                " down or inaccessible",
            )
        else:
            channel.send(commands.Queue.DeclareOk(frame.queue, 0, 0))

    def complete(self, channel):
        """Pass a message to the test once it is complete."""
        if len(channel.message.body) == channel.message.header.body_size:
            channel.confirms += 1
            self.broker.published.append(channel.message)
            self.broker.on_publish(channel, channel.confirms, channel.message)


class ScriptedBroker:
    """A broker that follows a script; by default it confirms everything."""

    def __init__(self):
        self.version = "3.13.7"
        self.links = []
        self.before_close_ok = lambda channel: None
        self.answers_consume = True
        self.answers_cancel = True
        self.capabilities = dict(CAPABILITIES)
        self.published = []
        self.consuming = []
        self.strays = []
        self.introduced = []
        self.asked = []
        self.locked = set()
        self.down_for = 0  # declarations that find the queue's node down
        self.on_publish = self.confirm
        self.deaf = False
        self._tasks = set()

    async def start(self, ssl=None):
        """Listen, with TLS if there is a context for it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"amqp{'s' if ssl else ''}://guest:guest@127.0.0.1:{self.port}/"

    async def stop(self):
        """Stop listening, and close all connections."""
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """Abort every connection."""
        for link in self.links:
            link.writer.transport.abort()

    def greeting(self):
        """Return the first frame of the broker."""
        properties = {
            "product": "RabbitMQ",
            "version": self.version,
            "capabilities": self.capabilities,
        }
        return commands.Connection.Start(0, 9, properties, "PLAIN", "en_US")

    @staticmethod
    def confirm(channel, tag, message):
        """Confirm a message."""
        channel.send(commands.Basic.Ack(tag))

    @property
    def publishing(self):
        """Return the client's publishing connection."""
        return [link for link in self.links if link.name.endswith("publishing")][-1]

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        link = Link(self, writer)
        self.links.append(link)
        received = b""
        try:
            while data := await reader.read(65536):
                received += data
                if not link.channels and not received.startswith((b"AMQP", b"\x01", b"\x08")):
                    writer.write(b"AMQP\x00\x00\x09\x01")
                    return
                while received and not self.deaf:
                    try:
                        size, number, frame = pamqp.frame.unmarshal(received)
                    except PAMQPException:
                        break
                    received = received[size:]
                    link.take(number, frame)
        except OSError:
            return
        finally:
            writer.close()


@pytest.fixture
def eventually():
    """Wait until a condition holds."""
    return _eventually


@pytest.fixture
def new_scripted():
    """Return a function that makes brokers that are not started."""
    return ScriptedBroker


@pytest.fixture
async def scripted():
    """Yield a broker that follows a script."""
    broker = ScriptedBroker()
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
async def connect(scripted):
    """Connect transports to the broker, and check that they leave no task behind."""
    made = []

    async def connect(**options):
        transport = AmqpTransport(
            [scripted.url], **({"publish_timeout": 5, "connect_timeout": 5} | options)
        )
        made.append(transport)
        await transport.connect()
        return transport

    yield connect
    for transport in made:
        await transport.close()
    ours = [task for task in asyncio.all_tasks() if task.get_name().startswith("stem-amqp")]
    assert ours == []
