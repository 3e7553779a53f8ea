"""A RabbitMQ in a Docker container, by testcontainers, where that is installed."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.testing.handshake import wait_for_broker

IMAGE = "rabbitmq:4-management"
ENGINE_TIMEOUT = 5
"""Seconds in which the Docker engine must answer."""
START_TIMEOUT = 90.0


@contextmanager
def docker_rabbitmq(report: Callable[[str], None]) -> Iterator[tuple[str, str, str]]:
    """Run RabbitMQ in a container for the length of the block.

    Args:
        report: told before an image is pulled, which can take a minute.

    Yields:
        The AMQP URL, the management URL and the broker's version.

    Raises:
        BrokerUnavailableError: no testcontainers, no engine, no image, or the broker does not
            answer; the message is the reason alone.
    """
    problem = engine_problem()
    if problem is not None:
        raise BrokerUnavailableError(problem)
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 optional

    report(f"starting {IMAGE} with Docker; the first time it is pulled")
    container = DockerContainer(IMAGE).with_exposed_ports(5672, 15672)
    try:
        try:
            container.start()
            host = container.get_container_host_ip()
            url = f"amqp://guest:guest@{host}:{container.get_exposed_port(5672)}/"
            management = f"http://{host}:{container.get_exposed_port(15672)}"
            version = wait_for_broker(url, timeout=START_TIMEOUT, alive=lambda: True)
        except Exception as error:
            raise BrokerUnavailableError(f"{IMAGE} does not start: {first_line(error)}") from error
        yield url, management, version
    finally:
        container.stop()


def engine_problem() -> str | None:
    """Return why there is no Docker engine to use, or None if there is one."""
    # Where no engine answers, docker leaves its sockets to the garbage collector, whose warnings
    # are errors in strict test suites.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        problem = _ping()
        gc.collect()
    return problem


def _ping() -> str | None:
    try:
        from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415 optional
    except ImportError:
        return "testcontainers is not installed"
    try:
        engine = DockerClient(timeout=ENGINE_TIMEOUT).client
        try:
            engine.ping()
        finally:
            engine.close()
    except Exception as error:  # noqa: BLE001 requests', urllib3's and docker's own all mean no
        return f"no engine answers: {first_line(error)}"
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
