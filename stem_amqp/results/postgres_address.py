"""What a ``postgresql://`` URL says: where the server is, and how its connections are pooled."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import redacted
from stem_amqp.tls import NO_PATHS, TlsPaths

DEFAULT_POOL_SIZE = 4
"""Connections of one process, at most; one more listens while somebody waits for a result."""
LARGEST_POOL_SIZE = 100
DEFAULT_PORT = 5432
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
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
        tls_paths: the TLS files of the settings; with none the driver's own parameters count.
        hosts: each host and port that the URL names.
        sslmode: what the URL says of TLS, if it does.
        sslcert: the client certificate that the URL names, if it does.
    """

    dsn: str = field(repr=False)
    place: str
    pool_size: int = DEFAULT_POOL_SIZE
    transaction_pooling: bool = False
    tls_paths: TlsPaths = NO_PATHS
    hosts: tuple[tuple[str, int], ...] = ()
    sslmode: str | None = None
    sslcert: str | None = None

    @property
    def speaks_tls(self) -> bool:
        """Whether connections are made through TLS, or not at all."""
        return bool(self.tls_paths) or self.sslmode in _ENCRYPTED


def parse_address(url: str, tls_paths: TlsPaths | None = None) -> PostgresAddress:
    """Read a URL.

    Args:
        url: ``postgresql://user:password@host:port/database``, with ``pool_size``, ``pooler`` and
            what the driver knows, such as ``sslmode``, as parameters.
        tls_paths: the TLS files of the settings: with one, connections are ``verify-full``.

    Raises:
        ConfigurationError: it cannot be used; the message never has the password.
    """
    try:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        hosts = _hosts(parts.netloc.rpartition("@")[2])
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
    sslmode, sslcert = parameters.get("sslmode"), parameters.get("sslcert")
    if tls_paths:
        _check_one_place(parameters)
    bare = parts._replace(scheme="postgresql", query="", fragment="")
    return PostgresAddress(
        dsn=bare._replace(query=urlencode(parameters, quote_via=quote)).geturl(),
        place=redacted(bare.geturl()),
        pool_size=pool_size,
        transaction_pooling=pooler == "transaction",
        tls_paths=tls_paths or NO_PATHS,
        hosts=hosts,
        sslmode=sslmode,
        sslcert=sslcert,
    )


def _hosts(text: str) -> tuple[tuple[str, int], ...]:
    """Return each host and its port; what stands after a host's colon must be a port."""
    found = []
    for part in text.split(","):
        bracketed, closing, rest = part.rpartition("]")
        host, colon, port = rest.rpartition(":")
        if colon and port and not 0 < int(port) < _PORTS:
            raise ValueError("no port")
        name = bracketed.removeprefix("[") if closing else (host if colon else rest)
        if name:
            found.append((unquote(name), int(port) if colon and port else DEFAULT_PORT))
    return tuple(found)


def _check_one_place(parameters: dict[str, str]) -> None:
    """Make sure that TLS is not set in the URL and in the settings."""
    if parameters.get("sslmode") == "verify-full":
        del parameters["sslmode"]
    twice = [name for name in parameters if name.startswith("ssl")]
    if twice:
        raise ConfigurationError(
            f"STEM_BACKEND_TLS_… is set, and STEM_BACKEND_URL has the parameter {twice[0]} too.\n"
            "  Say it in one place: with STEM_BACKEND_TLS_… it is sslmode=verify-full."
        )


def _pool_size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST_POOL_SIZE:
        raise ConfigurationError(
            f"pool_size={text!r} in STEM_BACKEND_URL is no number from 1 to {LARGEST_POOL_SIZE}."
        )
    return int(text)
