"""Servers in containers of the Docker engine, by testcontainers, where that is installed."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stem_amqp.errors import StemError

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

ENGINE_TIMEOUT = 5
"""Seconds in which the Docker engine must answer."""
LOOPBACK = "127.0.0.1"
_THIS_MACHINE = {"localhost", LOOPBACK, "::1"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A server to run in a container.

    Args:
        image: the image's name.
        port: the server's port in the container.
        url: its URL, with ``{}`` in the place of ``host:port``.
        management_port: that of RabbitMQ's management API in the container.
        environment: variables of the container.
        start_timeout: seconds in which the server must answer.
    """

    image: str
    port: int
    url: str = field(repr=False)
    management_port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    start_timeout: float = 90.0


class NoContainerError(StemError):
    """There is no testcontainers, no engine or no image; the message is the reason alone."""


@contextmanager
def running(
    container: Container, report: Callable[[str], None]
) -> Iterator[tuple[str, str | None]]:
    """Run a container for the length of the block.

    Args:
        container: what to run.
        report: called before an image is pulled, which can take a minute.

    Yields:
        The URL of the server, which may still be starting, and that of its management API.

    Raises:
        NoContainerError: there is no container.
    """
    problem = _engine_problem()
    if problem is not None:
        raise NoContainerError(problem)
    report(f"starting {container.image} with Docker; the first time it is pulled")
    ports = [container.port]
    if container.management_port is not None:
        ports.append(container.management_port)
    made = _container_of(container, ports)
    try:
        try:
            made.start()
            addresses = [_address_of(made, port) for port in ports]
        except Exception as error:
            raise NoContainerError(
                f"{container.image} does not start: {first_line(error)}"
            ) from error
        management = f"http://{addresses[1]}" if len(addresses) > 1 else None
        yield container.url.format(addresses[0]), management
    finally:
        made.stop()


def _container_of(container: Container, ports: list[int]) -> DockerContainer:
    """Return a container that is not started yet.

    Its ports are open to this machine alone: no other machine needs
    a server whose password is known. An engine on another machine, or one beside the container that
    this process runs in, is reached through the network, and opens them there.
    """
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 optional

    made = DockerContainer(container.image).with_exposed_ports(*ports)
    for name, value in container.environment.items():
        made.with_env(name, value)
    if _is_here(made):
        here: Any = dict.fromkeys((f"{port}/tcp" for port in ports), (LOOPBACK, None))
        made.ports = here
    return made


def _address_of(made: DockerContainer, port: int) -> str:
    """Return where a port of a started container can be reached, as ``host:port``."""
    host = LOOPBACK if _is_here(made) else made.get_container_host_ip()
    return f"{host}:{made.get_exposed_port(port)}"


def _is_here(made: DockerContainer) -> bool:
    from testcontainers.core.utils import inside_container  # noqa: PLC0415 optional

    return made.get_docker_client().host() in _THIS_MACHINE and not inside_container()


def _engine_problem() -> str | None:
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
        return "testcontainers is not installed: pip install 'stem-amqp[testing]'"
    try:
        engine = DockerClient(timeout=ENGINE_TIMEOUT).client
        try:
            engine.ping()
        finally:
            engine.close()
    except Exception as error:  # noqa: BLE001 errors of requests, urllib3 and docker mean the same
        return f"no engine answers: {first_line(error)}"
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
