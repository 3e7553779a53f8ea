"""Finds a RabbitMQ for tests and demos, or starts one.

The first that works of: the URL in ``STEM_TEST_BROKER_URL``; a broker on localhost:5672; Docker; an
installed rabbitmq-server, started privately; Debian's package, installed first, if
``STEM_TEST_INSTALL=1`` allows it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.settings import redacted
from stem_amqp.testing.debian_package import install_package
from stem_amqp.testing.docker_rabbitmq import docker_rabbitmq
from stem_amqp.testing.handshake import broker_version, management_beside
from stem_amqp.testing.private_rabbitmq import private_rabbitmq

logger = logging.getLogger("stem_amqp.testing")

URL_VARIABLE = "STEM_TEST_BROKER_URL"
INSTALL_VARIABLE = "STEM_TEST_INSTALL"
LOCAL_URL = "amqp://guest:guest@localhost:5672/"
TEST_REMEDY = (
    "Start one ('docker compose up -d rabbitmq'), install rabbitmq-server, or set "
    f"{URL_VARIABLE}=amqp://user:password@host:5672/"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """A RabbitMQ that answered.

    Args:
        url: its AMQP URL, with credentials.
        origin: where it comes from, for people.
        version: such as ``3.10.8``.
        management_url: its management API, without credentials (they are those of ``url``), or
            None if it has none.
    """

    url: str
    origin: str
    version: str
    management_url: str | None = None


class NoBrokerError(BrokerUnavailableError):
    """There is no RabbitMQ, and none could be started.

    Args:
        reasons: what was tried, in order, and why it failed.
        what: what it is for.
        remedy: what to do.
    """

    def __init__(
        self, reasons: Mapping[str, str], what: str = "to test against", remedy: str = TEST_REMEDY
    ) -> None:
        self.reasons = dict(reasons)
        tried = "\n".join(f"  - {name}: {reason}" for name, reason in self.reasons.items())
        super().__init__(f"No RabbitMQ {what}. Tried:\n{tried}\n{remedy}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the caller wants of a broker.

    Args:
        install: whether packages may be installed.
        management: whether a broker that we start gets the management plugin.
        report: told, in one line each, what takes time or changes the machine.
    """

    install: bool
    management: bool
    report: Callable[[str], None]


Finder = Callable[[Wish], AbstractContextManager[Broker]]
"""Gives a broker for the length of a block, or raises BrokerUnavailableError with the reason."""


@contextmanager
def find_broker(
    *,
    install: bool | None = None,
    management: bool = False,
    report: Callable[[str], None] = logger.info,
) -> Iterator[Broker]:
    """Find a broker, or start one that lives as long as the block.

    Args:
        install: whether Debian's package may be installed where nothing else works; None means
            that ``STEM_TEST_INSTALL=1`` in the environment decides.
        management: whether a broker that is started here gets the management plugin, which costs
            some seconds.
        report: told, in one line each, what takes time or changes the machine, and what was found.

    Raises:
        NoBrokerError: nothing worked; the message says what was tried and why it failed. Also when
            the broker of ``STEM_TEST_BROKER_URL`` does not answer: nothing else is tried then.
    """
    allowed = os.environ.get(INSTALL_VARIABLE) == "1" if install is None else install
    wish = Wish(install=allowed, management=management, report=report)
    with ExitStack() as stack:
        reasons: dict[str, str] = {}
        broker = _first(stack, wish, finders(), reasons)
        if broker is None:
            raise NoBrokerError(reasons)
        report(f"RabbitMQ {broker.version}: {broker.origin}")
        yield broker


@contextmanager
def throw_away_broker(
    *, management: bool = True, report: Callable[[str], None] = logger.info
) -> Iterator[Broker]:
    """Start a broker that nobody else uses, and that is gone after the block with all that is in it.

    Args:
        management: whether it has the management plugin, which costs some seconds.
        report: told, in one line each, what takes time.

    Raises:
        NoBrokerError: there is neither Docker nor an installed RabbitMQ, or neither works.
    """
    wish = Wish(install=False, management=management, report=report)
    with ExitStack() as stack:
        reasons: dict[str, str] = {}
        ways: dict[str, Finder] = {"installed RabbitMQ": _installed, "Docker": _in_docker}
        broker = _first(stack, wish, ways, reasons)
        if broker is None:
            raise NoBrokerError(
                reasons,
                "can be started",
                "Install rabbitmq-server (apt-get, brew), or Docker and testcontainers"
                " (pip install testcontainers); or use one that runs:"
                " --broker amqp://user:password@host:5672/",
            )
        yield broker


def _first(
    stack: ExitStack, wish: Wish, ways: Mapping[str, Finder], reasons: dict[str, str]
) -> Broker | None:
    """Enter the first way that works; note why the others do not."""
    for name, finder in ways.items():
        try:
            return stack.enter_context(finder(wish))
        except BrokerUnavailableError as error:
            reasons[name] = str(error)
            logger.debug("%s: %s", name, error)
            if name == URL_VARIABLE and URL_VARIABLE in os.environ:
                break
    return None


def finders() -> dict[str, Finder]:
    """Return the ways to a broker, by name, in the order in which they are tried."""
    return {
        URL_VARIABLE: _from_environment,
        "localhost:5672": _on_localhost,
        "Docker": _in_docker,
        "installed RabbitMQ": _installed,
        "apt-get": _to_be_installed,
    }


@contextmanager
def _from_environment(_wish: Wish) -> Iterator[Broker]:
    url = os.environ.get(URL_VARIABLE)
    if url is None:
        raise BrokerUnavailableError("not set")
    try:
        version = broker_version(url, timeout=10.0)
    except BrokerUnavailableError as error:
        raise BrokerUnavailableError(f"{redacted(url)}: {error}") from error
    origin = f"{redacted(url)} of {URL_VARIABLE}"
    yield Broker(url=url, origin=origin, version=version, management_url=management_beside(url))


@contextmanager
def _on_localhost(_wish: Wish) -> Iterator[Broker]:
    version = broker_version(LOCAL_URL)
    yield Broker(
        url=LOCAL_URL,
        origin="the one on localhost:5672",
        version=version,
        management_url=management_beside(LOCAL_URL),
    )


@contextmanager
def _in_docker(wish: Wish) -> Iterator[Broker]:
    with docker_rabbitmq(wish.report) as (url, management_url, version):
        yield Broker(
            url=url, origin="a Docker container", version=version, management_url=management_url
        )


@contextmanager
def _installed(wish: Wish) -> Iterator[Broker]:
    with private_rabbitmq(management=wish.management) as node:
        yield Broker(
            url=node.url,
            origin=f"a private one in {node.folder}, started in {node.started_in:.1f} s",
            version=node.version,
            management_url=node.management_url,
        )


@contextmanager
def _to_be_installed(wish: Wish) -> Iterator[Broker]:
    if not wish.install:
        raise BrokerUnavailableError(f"not asked; set {INSTALL_VARIABLE}=1 to allow it")
    install_package("rabbitmq-server", wish.report)
    with _installed(wish) as broker:
        yield broker
