"""Serves the metrics of the queues by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

from stem_amqp.errors import BrokerUnavailableError, ConfigurationError
from stem_amqp.management import Management
from stem_amqp.observability.http import Answer, Page, PortUnavailableError, serve
from stem_amqp.observability.queues.collector import QueueCollector, Sampler
from stem_amqp.observability.queues.measure import Measurer
from stem_amqp.observability.queues.plan import Plan
from stem_amqp.transport.base import Transport

DEFAULT_INTERVAL = 5.0
"""Seconds between two measurements; RabbitMQ's statistics are refreshed every 5 seconds."""
DEFAULT_TIMEOUT = 5.0
"""Maximum seconds of a measurement; below the 10 seconds that Prometheus waits for a scrape."""


@asynccontextmanager
async def serve_queues(
    plan: Plan,
    transport: Transport,
    management: Management | None,
    *,
    host: str,
    port: int,
    interval: float = DEFAULT_INTERVAL,
    timeout: float = DEFAULT_TIMEOUT,
) -> AsyncIterator[int]:
    """Serve the metrics of an application's queues during the block; yield the port.

    A broker that does not answer is no error: the metric ``stem_broker_up`` is 0 then.

    Args:
        plan: what to report.
        transport: the broker, not connected yet; it is closed at the end.
        management: the management API; None does not ask it.
        host: the address to listen on.
        port: the port; 0 for a free one.
        interval: the least seconds between two measurements.
        timeout: the most seconds of a measurement.

    Raises:
        ConfigurationError: prometheus-client is not installed, or the port cannot be used.
        BrokerRefusedError: the broker refuses the credentials or the virtual host.
    """
    measurer = Measurer(plan, transport, management)
    sampler = Sampler(measurer, asyncio.get_running_loop(), interval=interval, timeout=timeout)
    bound, close = _listen(sampler, host, port)
    try:
        try:
            await transport.connect()
        except BrokerUnavailableError:
            await asyncio.to_thread(sampler.current)  # logs it
        yield bound
    finally:
        await asyncio.to_thread(close)
        await measurer.close()
        await transport.close()


def _page(sampler: Sampler) -> Page:
    """Return the page with the current measurement."""
    try:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - optional
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - optional
    except ImportError:
        raise ConfigurationError(
            "the exporter needs prometheus-client, which is not installed\n"
            "  pip install 'stem-amqp[prometheus]'"
        ) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(QueueCollector(sampler))

    def page(accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        return Answer(body=encode(registry), content_type=content_type)

    return page


def _listen(sampler: Sampler, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Start the HTTP server; return its port and the function that stops it."""
    stack = ExitStack()
    try:
        bound = stack.enter_context(serve(host, port, {"/metrics": _page(sampler)}))
    except PortUnavailableError as error:
        raise ConfigurationError(
            f"the exporter cannot listen: {error}\n"
            "  Choose another port with --port or an address of this machine with --host, or find the"
            " process that uses the port: ss -ltnp"
        ) from None
    return bound, stack.close
