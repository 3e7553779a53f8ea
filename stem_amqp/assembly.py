"""Open the connections of an application: transport, topology, result backend, producer."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import Clock
from stem_amqp.connected import Connected
from stem_amqp.management import Management
from stem_amqp.messages.commands import Report
from stem_amqp.messages.message import new_id
from stem_amqp.observability.events import EventsExporter
from stem_amqp.observability.metrics import install_metrics
from stem_amqp.observability.tracing import install_tracing
from stem_amqp.producer.producer import Producer
from stem_amqp.provision.apply import ensure
from stem_amqp.provision.demands import refuse_unsupported
from stem_amqp.provision.restore import TopologyRestorer
from stem_amqp.provision.verify import verify_arguments
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.factory import create_from
from stem_amqp.results.signed import signed
from stem_amqp.results.writer import ResultWriter
from stem_amqp.settings import EventSources, Provision, Settings
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.source import seal_from
from stem_amqp.tls import TlsFiles
from stem_amqp.transport.amqp.transport import AmqpTransport
from stem_amqp.transport.base import BrokerInfo, Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.memory import MemoryTransport
from stem_amqp.worker.steering.listener import ControlListener


def create_transport(settings: Settings, clock: Clock | None = None) -> Transport:
    """Make the transport for the broker URL; it is not connected yet.

    Args:
        settings: the settings.
        clock: the time that an in-memory broker measures with.

    Raises:
        ConfigurationError: a URL or a TLS file cannot be used.
    """
    urls = [url.get_secret_value() for url in settings.broker_url]
    if urls[0].startswith("memory:"):
        return MemoryTransport.from_url(
            urls[0],
            clock=clock,
            connect_timeout=settings.connect_timeout,
            publish_timeout=settings.publish_timeout,
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


async def provision(blueprint: Blueprint, transport: Transport, mode: Provision) -> None:
    """Declare or verify an application's topology.

    Args:
        blueprint: the application.
        transport: connected.
        mode: whether to declare, to verify, or to do nothing.

    Raises:
        TopologyMismatchError: an exchange or queue exists with other arguments.
        TopologyMissingError: something is missing, and may not be declared.
    """
    entities, settings = blueprint.entities, blueprint.settings
    # only policies need the management API, and most topologies have no policies
    asked = bool(entities.policies) and not settings.in_memory
    management = Management.of(settings) if asked else None
    await ensure(mode, transport, entities, management=management)


def attach_restorer(blueprint: Blueprint, transport: Transport) -> None:
    """Let a transport report parts of the topology that are missing, and declare them again if allowed.

    Args:
        blueprint: the application; only ``provision=apply`` allows to declare.
        transport: connected.
    """

    async def redeclare() -> None:
        await provision(blueprint, transport, Provision.APPLY)

    if blueprint.settings.provision is Provision.APPLY:
        transport.redeclare = redeclare
    transport.restorer = TopologyRestorer(
        transport, lambda: blueprint.entities, transport.redeclare
    )


async def check_before_work(blueprint: Blueprint, connected: Connected) -> None:
    """Compare the arguments of existing exchanges and queues, for a worker that may not declare them.

    Only a worker does this, once and before it consumes: a producer does not need the answer, and should
    not wait for it.

    Args:
        blueprint: the application.
        connected: its connections.

    Raises:
        TopologyMismatchError: an exchange or queue exists with other arguments.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    settings = blueprint.settings
    if settings.provision is not Provision.VERIFY or settings.in_memory:
        return
    urls = [url.get_secret_value() for url in settings.broker_url]
    # beside a broker with TLS the guessed API is not used: the password must not go there unasked
    guessed = settings.management_url is None and _encrypted(urls)
    await verify_arguments(
        connected.transport,
        blueprint.entities,
        blueprint.names,
        None if guessed else Management.of(settings),
        settings.topology or "",
    )


async def connect(blueprint: Blueprint) -> Connected:
    """Open everything that an application needs.

    Args:
        blueprint: the application.

    Raises:
        BrokerError: the broker cannot be reached, refuses access, has another topology, or its
            release lacks a feature that the topology needs.
        BackendError: the backend cannot be reached.
        ConfigurationError: the keys cannot be used, a required key is missing, or the registry of Prometheus
            has a metric of the same name.
    """
    settings = blueprint.settings
    install_metrics(settings.metrics, blueprint.telemetry)
    seal = seal_from(settings, blueprint.keys)
    transport = create_transport(settings, blueprint.clock)
    broker = await transport.connect()
    try:
        refuse_unsupported(blueprint.topology, blueprint.queues, broker)
        await provision(blueprint, transport, settings.provision)
        attach_restorer(blueprint, transport)
        backend = create_from(settings, transport, blueprint.names)
        backend = signed(backend, seal)
        await backend.open()
    except BaseException:
        await asyncio.shield(transport.close())
        raise
    connected = assembled(blueprint, transport=transport, broker=broker, backend=backend, seal=seal)
    if connected.events is not None and settings.events is EventSources.ALL:
        connected.events.follow(lambda: _listeners(blueprint, connected))
    return connected


def _listeners(blueprint: Blueprint, connected: Connected) -> AbstractAsyncContextManager[str]:
    """Consume commands in a process that may have no worker, to learn of listeners for events."""
    name = f"{blueprint.names.control}.{socket.gethostname()}:{os.getpid()}:{new_id()[-6:]}"

    def listened(report: Report, _: Delivery) -> None:
        if report.events and connected.events is not None:
            connected.events.listen(report.events)

    listener = ControlListener(
        {Report: listened}, seal=connected.seal, clock=connected.transport.clock
    )
    return connected.transport.subscribe(name, listener, exchange=blueprint.names.control)


def assembled(
    blueprint: Blueprint,
    *,
    transport: Transport,
    broker: BrokerInfo,
    backend: ResultBackend,
    seal: Seal | None,
    make_producer: Callable[..., Producer] = Producer,
) -> Connected:
    """Make the connections of an application from parts that are open already.

    Args:
        blueprint: the application.
        transport: the broker.
        broker: the broker's product, version and features.
        backend: the result backend.
        seal: signs and encrypts messages; None without keys.
        make_producer: makes the producer, with the arguments of `Producer`.
    """
    install_tracing(blueprint.settings.tracing, blueprint.telemetry)
    writer = ResultWriter(backend)
    producer = make_producer(
        blueprint, transport=transport, backend=backend, writer=writer, seal=seal
    )
    return Connected(
        transport=transport,
        broker=broker,
        backend=backend,
        writer=writer,
        producer=producer,
        seal=seal,
        events=_events(blueprint, transport),
    )


def _events(blueprint: Blueprint, transport: Transport) -> EventsExporter | None:
    settings = blueprint.settings
    if settings.events is EventSources.OFF:
        return None
    return EventsExporter(
        blueprint.telemetry, transport, blueprint.names, rate=settings.events_rate
    )
