"""What a ``postgresql://`` URL says: where the server is, and how its connections are pooled."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import redacted

DEFAULT_POOL_SIZE = 4
"""Connections of one process, at most; one more listens while somebody waits for a result."""
LARGEST_POOL_SIZE = 100
_PORTS = 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresAddress:
    """A database, and how to use it.

    Args:
        dsn: the URL for the driver, with the password.
        place: the URL for people, without password and parameters.
        pool_size: connections at most.
        transaction_pooling: whether a pooler gives each transaction another connection, so that
            neither prepared statements nor LISTEN work.
    """

    dsn: str = field(repr=False)
    place: str
    pool_size: int = DEFAULT_POOL_SIZE
    transaction_pooling: bool = False


def parse_address(url: str) -> PostgresAddress:
    """Read a URL.

    Args:
        url: ``postgresql://user:password@host:port/database``, with ``pool_size``, ``pooler`` and
            what the driver knows, such as ``sslmode``, as parameters.

    Raises:
        ConfigurationError: it cannot be used; the message never has the password.
    """
    try:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        _check_hosts(parts.netloc.rpartition("@")[2])
    except ValueError:
        # Its text is not shown: a password with odd characters ends up in the wrong part.
        raise ConfigurationError(
            "this postgresql:// URL cannot be read.\n  Write"
            " STEM_BACKEND_URL=postgresql://user:password@host:5432/database, with special"
            " characters of the password\n  percent-encoded: '/' as %2F, '@' as %40, '#' as %23,"
            " '?' as %3F, ':' as %3A."
        ) from None
    pool_size = _pool_size(parameters.pop("pool_size", str(DEFAULT_POOL_SIZE)))
    pooler = parameters.pop("pooler", "session")
    if pooler not in {"session", "transaction"}:
        raise ConfigurationError(
            f"pooler={pooler!r} in STEM_BACKEND_URL is neither 'transaction' (a pgbouncer with"
            " pool_mode=transaction) nor 'session'."
        )
    bare = parts._replace(scheme="postgresql", query="", fragment="")
    return PostgresAddress(
        dsn=bare._replace(query=urlencode(parameters, quote_via=quote)).geturl(),
        place=redacted(bare.geturl()),
        pool_size=pool_size,
        transaction_pooling=pooler == "transaction",
    )


def _check_hosts(hosts: str) -> None:
    """Make sure that what stands after each host's colon is a port."""
    for host in hosts.split(","):
        _, colon, port = host.rpartition("]")[2].rpartition(":")
        if colon and port and not 0 < int(port) < _PORTS:
            raise ValueError("no port")


def _pool_size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST_POOL_SIZE:
        raise ConfigurationError(
            f"pool_size={text!r} in STEM_BACKEND_URL is no number from 1 to {LARGEST_POOL_SIZE}."
        )
    return int(text)
