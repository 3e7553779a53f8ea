"""Namespaces on RabbitMQ that tests use one after the other, for the sake of their delay queues.

To declare and delete the 72 delay queues of a namespace is most of the broker's work in a test. After a
test its namespace is a *spare* one if all that is left in it are delay queues that never had a message
in this test: everything else is deleted. Otherwise the whole namespace is deleted, and no other test
uses its name. `Trace` decides this by all AMQP frames that this process has written, not by what is
in the queues: a message that moves from one delay queue to the next one is in neither.
"""

import sys
import uuid
from urllib.parse import urlsplit

from pamqp import commands

from stem_amqp.servers.answer import run_blocking
from stem_amqp.testing.cleanup import delete_namespace
from stem_amqp.topology.delays import delays
from stem_amqp.topology.names import Names

SHARED_STORES = {
    "managed",
    "management",
    "own_postgres",
    "private_redis",
    "stem_postgres_url",
    "stem_redis_url",
}
"""Fixtures of places outside the namespace's queues that may remember the namespace."""
PROCESSES = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen"}
"""Audit events of a new process, whose frames are not seen here."""


def new_namespace():
    """Return a name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:8]}"


def delete_spare(url, namespace):
    """Delete the delay exchanges and queues of a namespace."""
    entities = delays(Names(namespace))
    run_blocking(
        delete_namespace(
            url, [one.name for one in entities.exchanges], [one.name for one in entities.queues]
        )
    )


class Trace:
    """What this process does in a namespace during a block.

    Attributes:
        spoilt: the reasons why another test must not use the namespace.
        exchanges: the names of its exchanges that were declared, without those of delays.
        queues: the names of its queues that were declared, without those of delays.
    """

    active = None

    def __init__(self, namespace):
        self.spoilt = set()
        self.exchanges, self.queues = set(), set()
        self._prefix = f"{namespace}."
        self._delay = f"{namespace}.zz-"
        self._paused = Names(namespace).paused
        entities = delays(Names(namespace))
        self.delay_exchanges = {one.name for one in entities.exchanges}
        self.delay_queues = {one.name: dict(one.arguments) for one in entities.queues}
        self._bindings = {(one.source, one.destination, one.key) for one in entities.bindings}
        self._open = 0

    def __enter__(self):
        Trace.active = self
        return self

    def __exit__(self, *_):
        Trace.active = None
        if self._open:
            self.spoilt.add("a connection was cut: its last messages may arrive late")

    def is_delay(self, name):
        """Return whether a name is that of a delay exchange or queue, or of one like them."""
        if not isinstance(name, str) or name.startswith(self._paused):
            return False
        return name.startswith(self._delay)

    def process(self):
        """A process was started."""
        self.spoilt.add("another process was started")

    def connected(self, frame):
        """A connection was opened."""
        self._open += 1

    def disconnected(self, frame):
        """A connection was closed properly."""
        self._open -= frame.reply_code is not None

    def published(self, frame):
        """A message was published."""
        if self.is_delay(frame.exchange or frame.routing_key):
            self.spoilt.add("a message was delayed")

    def declared_queue(self, frame):
        """A queue was declared."""
        arguments = dict(frame.arguments or {})
        if self.is_delay(frame.queue):
            if not frame.passive and self.delay_queues.get(frame.queue) != arguments:
                self.spoilt.add("a delay queue is different")
        else:
            self._declared(self.queues, frame.queue, arguments)

    def declared_exchange(self, frame):
        """An exchange was declared."""
        arguments = dict(frame.arguments or {})
        if self.is_delay(frame.exchange):
            usual = frame.exchange in self.delay_exchanges and frame.exchange_type == "topic"
            if not frame.passive and (arguments or not usual):
                self.spoilt.add("a delay exchange is different")
        else:
            self._declared(self.exchanges, frame.exchange, arguments)

    def _declared(self, names, name, arguments):
        if any(map(self.is_delay, arguments.values())):
            self.spoilt.add("something else leads to the delays")
        if name.startswith(self._prefix):
            names.add(name)

    def bound(self, frame):
        """A queue or an exchange was bound."""
        source = getattr(frame, "source", None) or getattr(frame, "exchange", None)
        destination = getattr(frame, "destination", None) or getattr(frame, "queue", None)
        usual = (source, destination, frame.routing_key) in self._bindings and not frame.arguments
        if not usual and (self.is_delay(source) or self.is_delay(destination)):
            self.spoilt.add("a binding of the delays is different")

    def removed(self, frame):
        """Something was deleted or unbound."""
        names = (
            getattr(frame, name, None) for name in ("queue", "exchange", "source", "destination")
        )
        if any(map(self.is_delay, names)):
            self.spoilt.add("a part of the delays is missing")


WATCHED = {
    commands.Connection.Open: Trace.connected,
    commands.Connection.Close: Trace.disconnected,
    commands.Basic.Publish: Trace.published,
    commands.Queue.Declare: Trace.declared_queue,
    commands.Exchange.Declare: Trace.declared_exchange,
    commands.Queue.Bind: Trace.bound,
    commands.Exchange.Bind: Trace.bound,
    commands.Queue.Unbind: Trace.removed,
    commands.Exchange.Unbind: Trace.removed,
    commands.Queue.Delete: Trace.removed,
    commands.Exchange.Delete: Trace.removed,
}
"""The frames that matter; all AMQP clients of this process make them from these classes."""


def _watch(frame_type, method):
    make = frame_type.__init__

    def watched(self, *words, **options):
        make(self, *words, **options)
        if Trace.active is not None:
            method(Trace.active, self)

    frame_type.__init__ = watched


def _audited(event, _arguments):
    if event in PROCESSES and Trace.active is not None:
        Trace.active.process()


for _type, _method in WATCHED.items():
    _watch(_type, _method)
sys.addaudithook(_audited)


class Borrowed:
    """The namespace of a test on RabbitMQ, and what becomes of it.

    Args:
        url: the broker's URL.
        slot: the slot of the test, with or without a spare namespace; None if the test must have its own.
    """

    def __init__(self, url, slot):
        self._url = url
        self._slot = slot
        self.name = (slot and slot.take_spare(url)) or new_namespace()
        self.trace = Trace(self.name)

    def examine(self, stems, fixtures):
        """Look for traces of the namespace outside the broker, and for policies.

        Args:
            stems: the applications of the test.
            fixtures: the names of all fixtures that the test has used.
        """
        if not SHARED_STORES.isdisjoint(fixtures):
            self.trace.spoilt.add("something outside the broker may remember the namespace")
        for stem in stems:
            store = urlsplit(stem.settings.backend_url.get_secret_value())
            if store.scheme == "memory" and len(store.netloc) != len(uuid.uuid4().hex):
                self.trace.spoilt.add("another test may use the results in memory")
            if stem.blueprint.entities.policies:
                self.trace.spoilt.add("there may be policies")

    async def clean_up(self, stems):
        """Delete what the test has declared, without the delays if the next test can use them.

        Args:
            stems: the applications of the test, not connected.
        """
        trace, keeps = self.trace, self._slot is not None and not self.trace.spoilt
        exchanges, queues = trace.exchanges, trace.queues
        for stem in stems:
            exchanges |= {one.name for one in stem.blueprint.entities.exchanges}
            queues |= {one.name for one in stem.blueprint.entities.queues}
        if keeps:
            exchanges -= trace.delay_exchanges
            queues -= trace.delay_queues.keys()
        else:
            exchanges |= trace.delay_exchanges
            queues |= trace.delay_queues.keys()
        await delete_namespace(self._url, exchanges, queues)
        if keeps:
            self._slot.spare = self._url, self.name
