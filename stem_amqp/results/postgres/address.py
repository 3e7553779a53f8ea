"""The ``postgresql://`` URL: the server's address, and how its connections are pooled."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from stem_amqp.errors import ConfigurationError
from stem_amqp.text import redacted
from stem_amqp.tls import NO_PATHS, TlsPaths

DEFAULT_POOL_SIZE = 4
"""Connections of one process, at most; one more listens while results are waited for."""
LARGEST_POOL_SIZE = 100
DEFAULT_PORT = 5432
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
_PORTS = 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresAddress:
    """A database and how to connect to it.

    Args:
        dsn: the URL for the driver, with the password.
        place: the URL for people, without password and parameters.
        pool_size: connections at most.
        transaction_pooling: whether a pooler may use another connection for each transaction, so that
            neither prepared statements nor LISTEN work.
        tls_paths: the TLS files of the settings; without any the driver's own parameters apply.
        hosts: each host and port that the URL names.
        sslmode: the URL's parameter, or None.
        sslcert: the path of the client certificate in the URL, or None.
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
        """Whether every connection uses TLS."""
        return bool(self.tls_paths) or self.sslmode in _ENCRYPTED


def parse_address(url: str, tls_paths: TlsPaths | None = None) -> PostgresAddress:
    """Read a URL.

    Args:
        url: ``postgresql://user:password@host:port/database``, with the parameters ``pool_size``,
            ``pooler`` and those of the driver, such as ``sslmode``.
        tls_paths: the TLS files of the settings: with one, connections are ``verify-full``.

    Raises:
        ConfigurationError: the URL is invalid; the message never contains the password.
    """
    try:
        if not isinstance(url, str):
            raise ValueError("no text")  # noqa: TRY004 - caught below
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        login, _, place = parts.netloc.rpartition("@")
        hosts = _hosts(place)
        if not login and "@" in f"{parts.path}{parts.fragment}":
            raise ValueError("user and password end before the @")
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
    # The driver ends the password at the first @, and quotes the rest in its errors
    bare = parts._replace(scheme="postgresql", netloc=_encoded(login) + place, fragment="")
    return PostgresAddress(
        dsn=bare._replace(query=urlencode(parameters, quote_via=quote)).geturl(),
        place=redacted(parts._replace(scheme="postgresql").geturl())
        .partition("?")[0]
        .partition("#")[0],
        pool_size=pool_size,
        transaction_pooling=pooler == "transaction",
        tls_paths=tls_paths or NO_PATHS,
        hosts=hosts,
        sslmode=sslmode,
        sslcert=sslcert,
    )


def _encoded(login: str) -> str:
    """Return user and password percent-encoded, whether or not they were before."""
    if not login:
        return ""
    parts = (quote(unquote(part), safe="") for part in login.split(":", 1))
    return ":".join(parts) + "@"


def _hosts(text: str) -> tuple[tuple[str, int], ...]:
    """Return each host and its port; only a port may follow a host's colon."""
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
    """Check that TLS is not set both in the URL and in the settings."""
    if parameters.get("sslmode") == "verify-full":
        del parameters["sslmode"]
    twice = [name for name in parameters if name.startswith("ssl")]
    if twice:
        raise ConfigurationError(
            f"STEM_BACKEND_TLS_… is set, and STEM_BACKEND_URL has the parameter {twice[0]} too.\n"
            "  Set it in one place: STEM_BACKEND_TLS_… implies sslmode=verify-full."
        )


def _pool_size(text: str) -> int:
    plain = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_POOL_SIZE))
    if not plain or not 1 <= int(text) <= LARGEST_POOL_SIZE:
        raise ConfigurationError(
            f"pool_size={text!r:.40} in STEM_BACKEND_URL is not a number from 1 to {LARGEST_POOL_SIZE}."
        )
    return int(text)
