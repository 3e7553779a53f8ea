"""The description of RabbitMQ for the finder of servers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ClassVar

from typing_extensions import override

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.docker import Container
from stem_amqp.servers.finder import (
    FinderOptions,
    NoServerError,
    Server,
    ServerKind,
    Way,
    first_that_works,
)
from stem_amqp.servers.rabbitmq.handshake import (
    broker_version,
    management_beside,
)
from stem_amqp.servers.rabbitmq.private import private_rabbitmq

logger = logging.getLogger("stem_amqp.testing")

LOCAL_URL = "amqp://guest:guest@localhost:5672/"
IMAGE = "rabbitmq:4.3-management"


class NoBrokerError(NoServerError, BrokerUnavailableError):
    """There is no RabbitMQ, and none could be started."""


class RabbitMQ(ServerKind):
    """RabbitMQ."""

    name = "RabbitMQ"
    url_variable = "STEM_TEST_BROKER_URL"
    local_address = "localhost:5672"
    package = "rabbitmq-server"
    remedy = (
        "Start one ('docker compose up -d rabbitmq'), install rabbitmq-server, or set"
        f" {url_variable}=amqp://user:password@host:5672/"
    )
    unavailable: ClassVar = BrokerUnavailableError
    missing: ClassVar = NoBrokerError

    @override
    def version(self, url: str, *, timeout: float = 5.0) -> str:
        return broker_version(url, timeout=timeout)

    @override
    def local_urls(self) -> dict[str, str]:
        return {LOCAL_URL: f"the one on {self.local_address}"}

    @override
    def management_url(self, url: str) -> str | None:
        return management_beside(url)

    @override
    def container(self) -> Container:
        return Container(
            image=IMAGE, port=5672, url="amqp://guest:guest@{}/", management_port=15672
        )

    @override
    @contextmanager
    def private(self, options: FinderOptions) -> Iterator[Server]:
        with private_rabbitmq(management=options.management) as node:
            yield Server(
                url=node.url,
                origin=f"a private one in {node.folder}, started in {node.started_in:.1f} s",
                version=node.version,
                management_url=node.management_url,
            )


RABBITMQ = RabbitMQ()


@contextmanager
def temporary_broker(
    *, management: bool = True, report: Callable[[str], None] = logger.info
) -> Iterator[Server]:
    """Start a temporary broker for this process alone; it is deleted after the block.

    Args:
        management: whether it has the management plugin, which costs some seconds.
        report: called with one line for each step that takes time.

    Raises:
        NoBrokerError: there is neither Docker nor an installed RabbitMQ, or neither works.
    """
    options = FinderOptions(install=False, management=management, report=report)
    ways: dict[str, Way] = {"installed RabbitMQ": RABBITMQ.private, "Docker": RABBITMQ.in_docker}
    with ExitStack() as stack:
        reasons: dict[str, str] = {}
        broker = first_that_works(stack, RABBITMQ, ways, options, reasons)
        if broker is None:
            raise NoBrokerError(
                RABBITMQ,
                reasons,
                purpose="can be started",
                remedy="Install rabbitmq-server (apt-get, brew), or Docker and testcontainers"
                " (pip install 'stem-amqp[testing]'); or use one that runs:"
                " --broker amqp://user:password@host:5672/",
            )
        yield broker
