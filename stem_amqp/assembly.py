"""From settings to open connections: transport, topology, backend, producer."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stem_amqp.clock import Clock
from stem_amqp.management import Management
from stem_amqp.producer import Producer
from stem_amqp.provision.apply import ensure
from stem_amqp.provision.demands import refuse_unsupported
from stem_amqp.provision.verify import verify_arguments
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.batch import ResultWriter
from stem_amqp.results.factory import backend_tls
from stem_amqp.results.factory import create as create_backend
from stem_amqp.settings import Provision, Settings
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.source import seal_from
from stem_amqp.tls import TlsFiles
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.entities import Entities
from stem_amqp.transport.amqp.transport import AmqpTransport
from stem_amqp.transport.base import BrokerInfo, Transport
from stem_amqp.transport.memory import MemoryTransport

if TYPE_CHECKING:
    from stem_amqp.app import Stem


@dataclass(frozen=True, kw_only=True, slots=True)
class Connected:
    """The open connections of an application.

    Args:
        transport: the broker.
        broker: what the broker says of itself.
        backend: the result backend.
        writer: its batching writer.
        producer: what enqueues.
        seal: what signs and encrypts bodies, if there are keys.
    """

    transport: Transport
    broker: BrokerInfo
    backend: ResultBackend
    writer: ResultWriter
    producer: Producer
    seal: Seal | None = None

    async def close(self) -> None:
        """Close everything, the broker last."""
        try:
            await self.writer.close()
            await self.backend.close()
        finally:
            await self.transport.close()


class StandIn(Protocol):
    """Connections in the place of an application's own: what `stem_amqp.testing` swaps in."""

    @property
    def connected(self) -> Connected:
        """The connections, open at any time."""
        ...

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop in which they can be used from another thread."""
        ...


def create_transport(settings: Settings, clock: Clock | None = None) -> Transport:
    """Make the transport that the broker URL asks for; it is not connected yet.

    Args:
        settings: the settings.
        clock: the time that an in-memory broker measures with.

    Raises:
        ConfigurationError: a URL or a TLS file cannot be used.
    """
    urls = [url.get_secret_value() for url in settings.broker_url]
    if urls[0].startswith("memory:"):
        return MemoryTransport.from_url(
            urls[0], clock=clock, publish_timeout=settings.publish_timeout
        )
    context = None
    if _encrypted(urls):
        context = TlsFiles(ca=settings.tls_ca, cert=settings.tls_cert, key=settings.tls_key)
    return AmqpTransport(
        urls,
        name=f"stem-amqp {settings.namespace} {socket.gethostname()}:{os.getpid()}",
        namespace=settings.namespace,
        heartbeat=settings.amqp_heartbeat,
        connect_timeout=settings.connect_timeout,
        publish_timeout=settings.publish_timeout,
        ssl_context=context,
        server_name=settings.tls_server_name,
    )


def _encrypted(urls: Sequence[str]) -> bool:
    return any(url.startswith("amqps:") for url in urls)


def entities_of(app: Stem) -> Entities:
    """Return what is to be on the broker for an application."""
    return compile_topology(app.topology, app.names, app.queues)


async def provision(app: Stem, transport: Transport, mode: Provision) -> None:
    """Declare or verify an application's topology.

    Raises:
        TopologyMismatchError: something is there with other arguments.
        TopologyMissingError: something is missing, and is not to be declared.
    """
    entities = entities_of(app)
    # only policies need the management API, and most topologies have none
    asked = bool(entities.policies) and not app.settings.in_memory
    management = Management.of(app.settings) if asked else None
    await ensure(mode, transport, entities, management=management)


async def check_before_work(app: Stem) -> None:
    """Compare the arguments of what stands, for a worker that must not declare it.

    Only a worker does so, once and before it takes a task: a producer has no use for the answer, and should
    not wait for it.

    Args:
        app: the application, connected.

    Raises:
        TopologyMismatchError: something is there with other arguments.
        BrokerError: the broker cannot be reached, or refuses.
    """
    settings = app.settings
    if settings.provision is not Provision.VERIFY or settings.in_memory:
        return
    urls = [url.get_secret_value() for url in settings.broker_url]
    # beside a broker with TLS the API is guessed without: nobody asked for the password to go there
    guessed = settings.management_url is None and _encrypted(urls)
    await verify_arguments(
        app.connected.transport,
        entities_of(app),
        app.names,
        None if guessed else Management.of(settings),
        settings.topology or "",
    )


async def connect(app: Stem, clock: Clock | None, settings: Settings | None = None) -> Connected:
    """Open everything that an application needs.

    Args:
        app: the application.
        clock: the time that an in-memory broker measures with.
        settings: what to use instead of the application's, such as other time limits.

    Raises:
        BrokerError: the broker cannot be reached, refuses, has another topology, or is of a release
            that has not what the topology asks for.
        BackendError: the backend cannot be reached.
        ConfigurationError: the keys cannot be used, or one that is needed is missing.
    """
    settings = settings or app.settings
    seal = seal_from(settings, app.keys)
    transport = create_transport(settings, clock)
    broker = await transport.connect()
    try:
        refuse_unsupported(app.topology, app.queues, broker)
        await provision(app, transport, settings.provision)
        if settings.provision is Provision.APPLY:
            transport.redeclare = lambda: provision(app, transport, Provision.APPLY)
        backend = create_backend(
            settings.backend_url.get_secret_value(),
            clock=transport.clock,
            transport=transport,
            names=app.names,
            ttl=settings.result_ttl,
            tls_paths=backend_tls(settings),
        )
        await backend.open()
    except BaseException:
        await asyncio.shield(transport.close())
        raise
    return assembled(app, settings, transport=transport, broker=broker, backend=backend, seal=seal)


def assembled(
    app: Stem,
    settings: Settings,
    *,
    transport: Transport,
    broker: BrokerInfo,
    backend: ResultBackend,
    seal: Seal | None,
    make_producer: Callable[..., Producer] = Producer,
) -> Connected:
    """Put connections together that are open already.

    Args:
        app: the application.
        settings: its settings.
        transport: the broker.
        broker: what the broker says of itself.
        backend: the result backend.
        seal: what signs and encrypts bodies, if there are keys.
        make_producer: makes what enqueues, with the arguments of `Producer`.
    """
    writer = ResultWriter(backend)
    producer = make_producer(
        transport=transport,
        backend=backend,
        writer=writer,
        names=app.names,
        topology=app.topology,
        signals=app.signals,
        default_queue=settings.default_queue,
        result_ttl=settings.result_ttl,
        window=settings.publish_window,
        max_body_size=settings.max_body_size,
        seal=seal,
        middleware=app.middleware,
    )
    return Connected(
        transport=transport,
        broker=broker,
        backend=backend,
        writer=writer,
        producer=producer,
        seal=seal,
    )
