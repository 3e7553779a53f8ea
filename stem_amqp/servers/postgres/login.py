"""Check that a PostgreSQL answers: by a whole login, because an open port proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.servers.answer import run_blocking, wait_until

LOGIN_TIMEOUT = 5.0


def postgres_version(url: str, *, timeout: float = LOGIN_TIMEOUT) -> str:
    """Log in and return the server's version, such as ``15.4``.

    Args:
        url: with the credentials.
        timeout: seconds for everything.

    Raises:
        BackendUnavailableError: no server answers, or it refuses the login; the message is the reason
            alone.
    """
    return run_blocking(_ask(url, "SHOW server_version", timeout)).split()[0]


def wait_for_postgres(url: str, *, timeout: float, alive: Callable[[], bool]) -> str:
    """Wait until a starting server answers and return its version.

    Args:
        url: with the credentials.
        timeout: seconds to wait at most.
        alive: whether the server still runs, asked before each attempt.

    Raises:
        BackendUnavailableError: the server does not answer in time, or is no longer alive.
    """
    return wait_until(
        lambda: postgres_version(url),
        timeout=timeout,
        unavailable=BackendUnavailableError,
        alive=alive,
    )


def execute(url: str, statement: str) -> None:
    """Run one statement outside a transaction.

    Args:
        url: the database.
        statement: such as ``CREATE DATABASE``.

    Raises:
        BackendUnavailableError: it failed; the message is the reason alone.
    """
    run_blocking(_ask(url, statement, 30.0))


async def _ask(url: str, statement: str, timeout: float) -> str:
    try:
        import asyncpg  # noqa: PLC0415 optional
    except ImportError:
        raise BackendUnavailableError("asyncpg is not installed") from None
    try:
        async with asyncio.timeout(timeout):
            connection = await asyncpg.connect(url, timeout=timeout)
            try:
                return str(await connection.fetchval(statement))
            finally:
                connection.terminate()
    except TimeoutError:
        raise BackendUnavailableError(f"no answer within {timeout:g} s") from None
    except ConnectionRefusedError:
        raise BackendUnavailableError("nothing listens there") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise BackendUnavailableError(f"{type(error).__name__}: {error}") from error
