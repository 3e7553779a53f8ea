"""Find a server, or start one: the same steps for RabbitMQ, PostgreSQL and Redis.

The first of these that works is used: the URL in the kind's environment variable; a server on
localhost; Docker; installed programs, started privately; Debian's package, installed first, if
``STEM_TEST_INSTALL=1`` allows it.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from stem_amqp.errors import BackendUnavailableError, BrokerUnavailableError, StemError
from stem_amqp.servers.answer import wait_until
from stem_amqp.servers.debian_package import install_package
from stem_amqp.servers.docker import Container, NoContainerError, first_line, running
from stem_amqp.text import redacted

logger = logging.getLogger("stem_amqp.testing")

INSTALL_VARIABLE = "STEM_TEST_INSTALL"
NAMED_TIMEOUT = 10.0
"""Seconds in which the server of the environment variable must answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server that answered.

    Args:
        url: its URL, with credentials.
        origin: where it comes from, for people.
        version: such as ``3.10.8``.
        management_url: RabbitMQ's management API, without credentials (they are those of ``url``);
            None if there is none.
    """

    url: str
    origin: str
    version: str
    management_url: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FinderOptions:
    """The caller's requirements of a server.

    Args:
        install: whether packages may be installed.
        management: whether a RabbitMQ that is started gets the management plugin.
        report: called with one line for each step that takes time or changes the machine.
    """

    install: bool
    management: bool = False
    report: Callable[[str], None]


Way = Callable[[FinderOptions], AbstractContextManager[Server]]
"""Gives a server for the length of a block, or raises the kind's `unavailable` with the reason."""


class NoServerError(StemError):
    """There is no server of a kind, and none could be started.

    Args:
        kind: the kind of server.
        reasons: each way that was tried, in order, and why it failed.
        purpose: what the server is for.
        remedy: what to do; default: that of the kind.
    """

    def __init__(
        self,
        kind: ServerKind,
        reasons: Mapping[str, str],
        *,
        purpose: str = "to test against",
        remedy: str | None = None,
    ) -> None:
        self.reasons = dict(reasons)
        self.named = list(self.reasons) == [kind.url_variable]
        tried = "\n".join(f"  - {name}: {reason}" for name, reason in self.reasons.items())
        super().__init__(
            f"No {kind.name} {purpose}. Tried:\n{tried}\n{kind.remedy if remedy is None else remedy}"
        )

    named: bool
    """Whether the environment named the server, so that its silence is an error, no reason to skip."""


class ServerKind(ABC):
    """The description of a kind of server for the finder.

    Attributes:
        name: such as ``RabbitMQ``.
        url_variable: the environment variable that names a server.
        local_address: where one is expected on this machine, as ``localhost:port``.
        package: Debian's package.
        remedy: what a user can do if no server is found.
        unavailable: raised with the reason when one way does not work.
        missing: raised when no way works.
    """

    name: ClassVar[str]
    url_variable: ClassVar[str]
    local_address: ClassVar[str]
    package: ClassVar[str]
    remedy: ClassVar[str]
    unavailable: ClassVar[type[StemError]]
    missing: ClassVar[type[NoServerError]]

    @abstractmethod
    def version(self, url: str, *, timeout: float = 5.0) -> str:
        """Log in to a server and return its version.

        Args:
            url: with credentials.
            timeout: seconds for everything.

        Raises:
            StemError: the kind's `unavailable`; the message is the reason alone.
        """

    def wait(self, url: str, *, timeout: float) -> str:
        """Wait until a starting server answers, and return its version.

        Args:
            url: with credentials.
            timeout: seconds.

        Raises:
            StemError: the kind's `unavailable`; it does not answer in time.
        """
        return wait_until(lambda: self.version(url), timeout=timeout, unavailable=self.unavailable)

    @abstractmethod
    def local_urls(self) -> dict[str, str]:
        """Return the URLs to try on this machine, each with its origin for people."""

    @abstractmethod
    def container(self) -> Container:
        """Return the container to run, with new credentials where the image takes some."""

    @abstractmethod
    def private(self, options: FinderOptions) -> AbstractContextManager[Server]:
        """Start a private server from installed programs; it ends with the block."""

    def management_url(self, url: str) -> str | None:  # noqa: ARG002
        """Return the URL of the management API of a server, if it has one."""
        return None

    def ways(self) -> dict[str, Way]:
        """Return the ways to a server, by name, in the order in which they are tried."""
        return {
            self.url_variable: self.from_environment,
            self.local_address: self.on_localhost,
            "Docker": self.in_docker,
            f"installed {self.name}": self.private,
            "apt-get": self.from_package,
        }

    @contextmanager
    def from_environment(self, _options: FinderOptions) -> Iterator[Server]:
        """Use the server that the environment names."""
        url = os.environ.get(self.url_variable)
        if url is None:
            raise self.unavailable("not set")
        shown = redacted(url)
        try:
            version = self.version(url, timeout=NAMED_TIMEOUT)
        except StemError as error:
            raise self.unavailable(f"{shown}: {error}") from error
        yield Server(
            url=url,
            origin=f"{shown} of {self.url_variable}",
            version=version,
            management_url=self.management_url(url),
        )

    @contextmanager
    def on_localhost(self, _options: FinderOptions) -> Iterator[Server]:
        """Use the server that runs on this machine."""
        reason = ""
        for url, origin in self.local_urls().items():
            try:
                version = self.version(url)
            except StemError as error:
                reason = str(error)
                continue
            management_url = self.management_url(url)
            yield Server(url=url, origin=origin, version=version, management_url=management_url)
            return
        raise self.unavailable(reason)

    @contextmanager
    def in_docker(self, options: FinderOptions) -> Iterator[Server]:
        """Start a server in a container."""
        container = self.container()
        with ExitStack() as stack:
            try:
                url, management_url = stack.enter_context(running(container, options.report))
                version = self.wait(url, timeout=container.start_timeout)
            except NoContainerError as error:
                raise self.unavailable(str(error)) from error
            except StemError as error:
                raise self.unavailable(
                    f"{container.image} does not start: {first_line(error)}"
                ) from error
            yield Server(
                url=url, origin="a Docker container", version=version, management_url=management_url
            )

    @contextmanager
    def from_package(self, options: FinderOptions) -> Iterator[Server]:
        """Install Debian's package, and start a private server from it."""
        if not options.install:
            raise self.unavailable(f"not asked; set {INSTALL_VARIABLE}=1 to allow it")
        install_package(self.package, options.report)
        with self.private(options) as server:
            yield server


@contextmanager
def find_server(
    kind: ServerKind,
    *,
    install: bool | None = None,
    management: bool = False,
    report: Callable[[str], None] = logger.info,
) -> Iterator[Server]:
    """Find a server, or start one that lives as long as the block.

    Args:
        kind: the kind of server.
        install: whether Debian's package may be installed where nothing else works; None means
            that ``STEM_TEST_INSTALL=1`` in the environment decides.
        management: whether a RabbitMQ that is started here gets the management plugin, which costs
            some seconds.
        report: called with one line for each step that takes time or changes the machine, and for
            what was found.

    Raises:
        NoServerError: the kind's `missing`: nothing worked; the message says what was tried and why
            it failed. Also when the server of the environment variable does not answer: nothing else
            is tried then.
    """
    allowed = os.environ.get(INSTALL_VARIABLE) == "1" if install is None else install
    options = FinderOptions(install=allowed, management=management, report=report)
    with ExitStack() as stack:
        reasons: dict[str, str] = {}
        server = first_that_works(stack, kind, kind.ways(), options, reasons)
        if server is None:
            raise kind.missing(kind, reasons)
        report(f"{kind.name} {server.version}: {server.origin}")
        yield server


def first_that_works(
    stack: ExitStack,
    kind: ServerKind,
    ways: Mapping[str, Way],
    options: FinderOptions,
    reasons: dict[str, str],
) -> Server | None:
    """Enter the first way that works.

    Args:
        stack: keeps the server until it is closed.
        kind: the kind of server.
        ways: what to try, in order.
        options: what the caller wants.
        reasons: filled with why each way failed.
    """
    for name, way in ways.items():
        try:
            return stack.enter_context(way(options))
        except (BackendUnavailableError, BrokerUnavailableError) as error:
            reasons[name] = str(error)
            logger.debug("%s: %s", name, error)
            if name == kind.url_variable and name in os.environ:
                break
    return None
