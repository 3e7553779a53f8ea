"""A PostgreSQL in a Docker container, by testcontainers, where that is installed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.testing.docker_rabbitmq import engine_problem, first_line
from stem_amqp.testing.postgres_answer import wait_for_postgres

IMAGE = "postgres:17-alpine"
START_TIMEOUT = 90.0


@contextmanager
def docker_postgres(report: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Run PostgreSQL in a container for the length of the block.

    Args:
        report: told before an image is pulled, which can take a minute.

    Yields:
        The URL and the server's version.

    Raises:
        BackendUnavailableError: no testcontainers, no engine, no image, or the server does not
            answer; the message is the reason alone.
    """
    problem = engine_problem()
    if problem is not None:
        raise BackendUnavailableError(problem)
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 optional

    report(f"starting {IMAGE} with Docker; the first time it is pulled")
    password = secrets.token_hex(8)
    container = DockerContainer(IMAGE).with_exposed_ports(5432)
    container.with_env("POSTGRES_PASSWORD", password)
    try:
        try:
            container.start()
            place = f"{container.get_container_host_ip()}:{container.get_exposed_port(5432)}"
            url = f"postgresql://postgres:{password}@{place}/postgres"
            version = wait_for_postgres(url, timeout=START_TIMEOUT, alive=lambda: True)
        except Exception as error:
            raise BackendUnavailableError(f"{IMAGE} does not start: {first_line(error)}") from error
        yield url, version
    finally:
        container.stop()
