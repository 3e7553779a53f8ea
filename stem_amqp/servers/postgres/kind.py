"""The description of PostgreSQL for the finder of servers."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar
from urllib.parse import urlsplit

from typing_extensions import override

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.servers.docker import Container
from stem_amqp.servers.finder import FinderOptions, NoServerError, Server, ServerKind
from stem_amqp.servers.postgres.login import execute, postgres_version
from stem_amqp.servers.postgres.private import private_postgres

IMAGE = "postgres:17-alpine"


class NoPostgresError(NoServerError, BackendUnavailableError):
    """There is no PostgreSQL for the tests, and none could be started."""


class Postgres(ServerKind):
    """PostgreSQL."""

    name = "PostgreSQL"
    url_variable = "STEM_TEST_POSTGRES_URL"
    local_address = "localhost:5432"
    package = "postgresql"
    remedy = f"Install postgresql, or set {url_variable}=postgresql://user:password@host/database"
    unavailable: ClassVar = BackendUnavailableError
    missing: ClassVar = NoPostgresError

    @override
    def version(self, url: str, *, timeout: float = 5.0) -> str:
        return postgres_version(url, timeout=timeout)

    @override
    def local_urls(self) -> dict[str, str]:
        """Return URLs of users that need no password."""
        return {
            f"postgresql://{user}@{self.local_address}/postgres": (
                f"the one on {self.local_address}, as {user}"
            )
            for user in ("postgres", getpass.getuser())
        }

    @override
    def container(self) -> Container:
        password = secrets.token_hex(8)
        return Container(
            image=IMAGE,
            port=5432,
            url=f"postgresql://postgres:{password}@{{}}/postgres",
            environment={"POSTGRES_PASSWORD": password},
        )

    @override
    @contextmanager
    def private(self, options: FinderOptions) -> Iterator[Server]:
        with private_postgres() as server:
            yield Server(
                url=server.url, origin=f"a private one in {server.folder}", version=server.version
            )


POSTGRES = Postgres()


@contextmanager
def temporary_database(server: Server) -> Iterator[str]:
    """Create a database, and drop it at the end of the block.

    Args:
        server: where; its role may create databases.

    Yields:
        Its URL.
    """
    name = f"stem_test_{secrets.token_hex(4)}"
    execute(server.url, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server.url)._replace(path=f"/{name}").geturl()
    finally:
        execute(server.url, f"DROP DATABASE {name} WITH (FORCE)")
