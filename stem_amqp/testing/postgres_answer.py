"""Whether a PostgreSQL answers: a whole login, because an open port proves nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.testing.handshake import run_blocking

POLL = 0.05
"""Seconds between two attempts while a server starts."""
LOGIN_TIMEOUT = 5.0


def postgres_version(url: str, *, timeout: float = LOGIN_TIMEOUT) -> str:
    """Log in and return the server's version, such as ``15.4``.

    Args:
        url: with the credentials.
        timeout: seconds for everything.

    Raises:
        BackendUnavailableError: nobody answers, or the login is refused; the message is the reason
            alone.
    """
    return run_blocking(_ask(url, "SHOW server_version", timeout)).split()[0]


def wait_for_postgres(url: str, *, timeout: float, alive: Callable[[], bool]) -> str:
    """Wait until a starting server answers and return its version.

    Args:
        url: with the credentials.
        timeout: seconds to wait at most.
        alive: whether waiting still makes sense, asked before each attempt.

    Raises:
        BackendUnavailableError: the time is over, or the server is no longer alive.
    """
    deadline = time.monotonic() + timeout
    while True:
        if not alive():
            raise BackendUnavailableError("it ended while starting")
        try:
            return postgres_version(url)
        except BackendUnavailableError as error:
            if time.monotonic() > deadline:
                raise BackendUnavailableError(
                    f"it did not answer within {timeout:g} s: {error}"
                ) from error
        time.sleep(POLL)


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
        raise BackendUnavailableError("nobody listens there") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise BackendUnavailableError(f"{type(error).__name__}: {error}") from error
