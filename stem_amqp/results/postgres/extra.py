"""Tables beside those of the result backend: the first process that uses them creates them.

They do not change the version of the result backend's schema: earlier releases do not use them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.postgres.pool import Connection, PostgresPool
from stem_amqp.results.postgres.schema import LOCK_KEY


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtraTables:
    """Tables of one purpose.

    Args:
        what: what they are, for people: ``the table of schedules``.
        names: their names, for people.
        module: the module that prints the SQL when it is run.
        sql: creates what is missing.
        exist: returns whether nothing is missing.
    """

    what: str
    names: str
    module: str
    sql: str
    exist: Callable[[Connection], Awaitable[bool]]

    async def open(self, pool: PostgresPool) -> None:
        """Create what is missing.

        Args:
            pool: the connections of the result backend.

        Raises:
            BackendUnavailableError: the server cannot be used.
            ConfigurationError: the role may not create it.
        """
        await pool.run(lambda connection: self.create(connection, pool.address.place))

    async def create(self, connection: Connection, place: str) -> None:
        """Create what is missing.

        Args:
            connection: a connection outside a transaction.
            place: the database, for people.

        Raises:
            ConfigurationError: the role may not create it.
        """
        if await self.exist(connection):
            return
        try:
            async with connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
                await connection.execute(self.sql)
        except asyncpg.InsufficientPrivilegeError as error:
            raise self._lacking(place, error) from error

    async def fetch(
        self, pool: PostgresPool, statement: str, *arguments: Any
    ) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows.

        Args:
            pool: the connections of the result backend.
            statement: the SQL.
            *arguments: its arguments.

        Raises:
            BackendUnavailableError: the server cannot be used.
            ConfigurationError: the role lacks a right.
        """
        try:
            rows: list[tuple[Any, ...]] = await pool.run(
                lambda connection: connection.fetch(statement, *arguments)
            )
        except asyncpg.InsufficientPrivilegeError as error:
            raise self._lacking(pool.address.place, error) from error
        return rows

    def _lacking(self, place: str, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"this role may not create or use {self.what} in {place}: {error}.\n"
            f"  Let an owner run the output of `python -m {self.module}`, and grant this role SELECT, INSERT,"
            f" UPDATE and DELETE on {self.names}."
        )
