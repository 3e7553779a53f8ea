"""Finds a PostgreSQL for tests, or starts one.

The first that works of: the URL in ``STEM_TEST_POSTGRES_URL``; a server on localhost:5432 that lets
this user or ``postgres`` in without a password; Docker; an installed PostgreSQL, started privately;
Debian's package, installed first, if ``STEM_TEST_INSTALL=1`` allows it.
"""

from __future__ import annotations

import getpass
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from stem_amqp.errors import BackendUnavailableError, BrokerUnavailableError
from stem_amqp.settings import redacted
from stem_amqp.testing.brokers import INSTALL_VARIABLE
from stem_amqp.testing.debian_package import install_package
from stem_amqp.testing.docker_postgres import docker_postgres
from stem_amqp.testing.postgres_answer import execute, postgres_version
from stem_amqp.testing.private_postgres import private_postgres

logger = logging.getLogger("stem_amqp.testing")

URL_VARIABLE = "STEM_TEST_POSTGRES_URL"
LOCAL = "localhost:5432"


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresServer:
    """A PostgreSQL that answered.

    Args:
        url: its URL, with credentials that may create databases.
        origin: where it comes from, for people.
        version: such as ``15.4``.
    """

    url: str
    origin: str
    version: str


class NoPostgresError(BackendUnavailableError):
    """There is no PostgreSQL for the tests, and none could be started.

    Args:
        reasons: what was tried, in order, and why it failed.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        tried = "\n".join(f"  - {name}: {reason}" for name, reason in self.reasons.items())
        super().__init__(
            f"No PostgreSQL to test against. Tried:\n{tried}\n"
            f"Install postgresql, or set {URL_VARIABLE}=postgresql://user:password@host/database"
        )

    @property
    def named(self) -> bool:
        """Whether a server was named, so that its silence is an error and no reason to skip."""
        return list(self.reasons) == [URL_VARIABLE]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the caller wants.

    Args:
        install: whether packages may be installed.
        report: told, in one line each, what takes time or changes the machine.
    """

    install: bool
    report: Callable[[str], None]


Finder = Callable[[Wish], AbstractContextManager[PostgresServer]]
"""Gives a server for the length of a block, or raises BackendUnavailableError with the reason."""


@contextmanager
def find_postgres(
    *, install: bool | None = None, report: Callable[[str], None] = logger.info
) -> Iterator[PostgresServer]:
    """Find a server, or start one that lives as long as the block.

    Args:
        install: whether Debian's package may be installed where nothing else works; None means
            that ``STEM_TEST_INSTALL=1`` in the environment decides.
        report: told, in one line each, what takes time or changes the machine, and what was found.

    Raises:
        NoPostgresError: nothing worked; the message says what was tried and why it failed. Also
            when the server of ``STEM_TEST_POSTGRES_URL`` does not answer: nothing else is tried.
    """
    allowed = os.environ.get(INSTALL_VARIABLE) == "1" if install is None else install
    with ExitStack() as stack:
        server = _first(stack, Wish(install=allowed, report=report))
        report(f"PostgreSQL {server.version}: {server.origin}")
        yield server


@contextmanager
def temporary_database(server: PostgresServer) -> Iterator[str]:
    """Create a database, and drop it at the end of the block.

    Args:
        server: where.

    Yields:
        Its URL.
    """
    name = f"stem_test_{secrets.token_hex(4)}"
    execute(server.url, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server.url)._replace(path=f"/{name}").geturl()
    finally:
        execute(server.url, f"DROP DATABASE {name} WITH (FORCE)")


def _first(stack: ExitStack, wish: Wish) -> PostgresServer:
    reasons: dict[str, str] = {}
    for name, finder in finders().items():
        try:
            return stack.enter_context(finder(wish))
        except (BackendUnavailableError, BrokerUnavailableError) as error:
            reasons[name] = str(error)
            logger.debug("%s: %s", name, error)
            if name == URL_VARIABLE and URL_VARIABLE in os.environ:
                break
    raise NoPostgresError(reasons)


def finders() -> dict[str, Finder]:
    """Return the ways to a server, by name, in the order in which they are tried."""
    return {
        URL_VARIABLE: _from_environment,
        LOCAL: _on_localhost,
        "Docker": _in_docker,
        "installed PostgreSQL": _installed,
        "apt-get": _to_be_installed,
    }


@contextmanager
def _from_environment(_wish: Wish) -> Iterator[PostgresServer]:
    url = os.environ.get(URL_VARIABLE)
    if url is None:
        raise BackendUnavailableError("not set")
    try:
        version = postgres_version(url, timeout=10.0)
    except BackendUnavailableError as error:
        raise BackendUnavailableError(f"{redacted(url)}: {error}") from error
    yield PostgresServer(url=url, origin=f"{redacted(url)} of {URL_VARIABLE}", version=version)


@contextmanager
def _on_localhost(_wish: Wish) -> Iterator[PostgresServer]:
    reason = ""
    for user in dict.fromkeys(("postgres", getpass.getuser())):
        url = f"postgresql://{user}@{LOCAL}/postgres"
        try:
            version = postgres_version(url)
        except BackendUnavailableError as error:
            reason = str(error)
            continue
        yield PostgresServer(url=url, origin=f"the one on {LOCAL}, as {user}", version=version)
        return
    raise BackendUnavailableError(reason)


@contextmanager
def _in_docker(wish: Wish) -> Iterator[PostgresServer]:
    with docker_postgres(wish.report) as (url, version):
        yield PostgresServer(url=url, origin="a Docker container", version=version)


@contextmanager
def _installed(_wish: Wish) -> Iterator[PostgresServer]:
    with private_postgres() as server:
        yield PostgresServer(
            url=server.url, origin=f"a private one in {server.folder}", version=server.version
        )


@contextmanager
def _to_be_installed(wish: Wish) -> Iterator[PostgresServer]:
    if not wish.install:
        raise BackendUnavailableError(f"not asked; set {INSTALL_VARIABLE}=1 to allow it")
    install_package("postgresql", wish.report)
    with _installed(wish) as server:
        yield server
