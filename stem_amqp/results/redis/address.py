"""The URL of a Redis: ``redis://[[user]:password@]host[:port][/db]``, and ``rediss://`` for TLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from stem_amqp.errors import ConfigurationError
from stem_amqp.text import redacted
from stem_amqp.tls import TlsPaths

DEFAULT_PORT = 6379
_DIGITS = 9
"""Digits of the number of a database."""
FORM = "redis://[[user]:password@]host[:port][/db]"
TLS_OPTIONS = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "private": "ssl_keyfile"}
"""Parameters of ``rediss://``, each the path of a PEM file, and their names in the client library."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisAddress:
    """A Redis server and one of its databases.

    Args:
        host: name or IP address.
        port: TCP port.
        db: number of the database.
        username: the ACL user, or None for Redis' default user.
        password: the password, or None.
        tls: whether to speak TLS.
        tls_files: the client library's name of each TLS file, and its path.
    """

    host: str
    port: int = DEFAULT_PORT
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_files: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return the URL without user and password, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of the client library's connection."""
        options: dict[str, Any] = {"host": self.host, "port": self.port, "db": self.db}
        if self.username is not None:
            options["username"] = self.username
        if self.password is not None:
            options["password"] = self.password
        return options | dict(self.tls_files)

    @property
    def tls_paths(self) -> TlsPaths:
        """The TLS files."""
        paths = {name: Path(path) for name, path in self.tls_files}
        return TlsPaths(*(paths.get(name) for name in TLS_OPTIONS.values()))

    @classmethod
    def parse(cls, url: str, tls_paths: TlsPaths | None = None) -> RedisAddress:
        """Read a URL.

        Args:
            url: it may hold a password, which no message repeats.
            tls_paths: the TLS files of the settings, for ``rediss://`` where the URL names none.

        Raises:
            ConfigurationError: the URL is invalid.
        """
        if not isinstance(url, str):
            raise _unusable(type(url).__name__, "it is not a text")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # from None: the original error may contain a part of the password
            raise _unusable(url, "the host or the port cannot be read") from None
        if not parts.hostname:
            raise _unusable(url, "it names no host")
        if parts.fragment or ("@" in url and "@" not in parts.netloc):
            # What was parsed as a path or a parameter is a part of the password
            raise _unusable(url, "a '/', '?' or '#' in a password is written %2F, %3F or %23")
        tls = parts.scheme == "rediss"
        return cls(
            host=unquote(parts.hostname),
            port=DEFAULT_PORT if port is None else port,
            db=_database(url, parts.path),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=tls,
            tls_files=_tls_files(url, parts.query, tls=tls) or _set_files(url, tls_paths, tls=tls),
        )


def _database(url: str, path: str) -> int:
    number = path.strip("/")
    if not number:
        return 0
    if not (number.isascii() and number.isdecimal() and len(number) <= _DIGITS):
        raise _unusable(url, "what follows the host must be the number of a database, such as /0")
    return int(number)


def _tls_files(url: str, query: str, *, tls: bool) -> tuple[tuple[str, str], ...]:
    given = parse_qsl(query, keep_blank_values=True)
    unknown = [name for name, _ in given if not tls or name not in TLS_OPTIONS]
    if unknown:
        known = ", ".join(TLS_OPTIONS) + " (paths of PEM files)" if tls else "none"
        scheme = "rediss" if tls else "redis"
        raise _unusable(
            url, f"{scheme}:// does not know the parameter {unknown[0]!r}; known: {known}"
        )
    missing = [path for _, path in given if not Path(path).is_file()]
    if missing:
        raise _unusable(url, f"there is no file {missing[0]!r}")
    return tuple((TLS_OPTIONS[name], path) for name, path in given)


def _set_files(url: str, paths: TlsPaths | None, *, tls: bool) -> tuple[tuple[str, str], ...]:
    if not paths:
        return ()
    if not tls:
        raise _unusable(url, "STEM_BACKEND_TLS_… is set, and redis:// does not use TLS")
    named = zip(TLS_OPTIONS.values(), (paths.ca, paths.cert, paths.key), strict=True)
    return tuple((name, str(path)) for name, path in named if path is not None)


def _unusable(url: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{redacted(url)!r:.200} cannot be used: {problem}.\n"
        f"  Write STEM_BACKEND_URL={FORM}, with rediss:// for TLS; '@', ':', '/', '#' and '?' in a"
        " password are percent-encoded."
    )
