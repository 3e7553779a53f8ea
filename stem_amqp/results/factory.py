"""Create the result backend of a URL: a built-in, a registered or an installed one.

`BackendParts` and `BackendFactory` are public: backends of other packages are written against them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeAlias, cast

from stem_amqp.clock import Clock
from stem_amqp.errors import ConfigurationError
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.results.rpc.backend import RpcBackend
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.settings import Settings
from stem_amqp.text import redacted
from stem_amqp.tls import NO_PATHS, TlsPaths
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport

ENTRY_POINTS = "stem_amqp.backends"
"""The entry points of installed backends: URL scheme → `BackendFactory`."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendParts:
    """What a backend factory is given.

    Args:
        url: the URL as it was set; it may hold a password.
        clock: the time that TTLs are measured with.
        transport: the broker.
        names: the names on the broker.
        ttl: seconds that results are kept unless a task says otherwise.
        tls_paths: the TLS files of the settings, for backends that are reached through TLS.
    """

    url: str = field(repr=False)
    clock: Clock
    transport: Transport
    names: Names
    ttl: float
    tls_paths: TlsPaths = NO_PATHS

    @property
    def rest(self) -> str:
        """The part of the URL after ``scheme://``."""
        return self.url.partition("://")[2]


BackendFactory: TypeAlias = Callable[[BackendParts], ResultBackend]
"""Creates a backend that is not opened yet; raises `ConfigurationError` if the URL cannot be used."""


def _memory(parts: BackendParts) -> ResultBackend:
    name = parts.rest.strip("/") or "default"
    return MemoryBackend(MemoryStore.named(name), parts.clock, parts.names.namespace)


def _sqlite(parts: BackendParts) -> ResultBackend:
    file = parts.rest.removeprefix("/")
    if not parts.rest.startswith("/") or not file:
        raise ConfigurationError(
            f"{redacted(parts.url)!r} names no file: write sqlite:///results.db for one in the current"
            " directory, sqlite:////var/lib/app/results.db for an absolute path."
        )
    if file == ":memory:":
        raise ConfigurationError(
            "sqlite:///:memory: is not shared with anyone: use memory:// for results in this"
            " process."
        )
    if "?" in file:
        raise ConfigurationError(
            f"{redacted(parts.url)!r}: sqlite:// takes no parameters after a '?'"
        )
    return SqliteBackend(Path(file), parts.clock, parts.names.namespace)


def _redis(parts: BackendParts) -> ResultBackend:
    address = RedisAddress.parse(parts.url, parts.tls_paths)
    try:
        from stem_amqp.results.redis.backend import RedisBackend  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"redis", "hiredis"}:
            raise
        raise ConfigurationError(
            f"{address} needs the client library of Redis, which is not installed.\n"
            "  pip install 'stem-amqp[redis]'"
        ) from error
    return RedisBackend(address, parts.names.namespace, parts.clock)


def _rpc(parts: BackendParts) -> ResultBackend:
    if parts.rest.strip("/"):
        raise ConfigurationError(
            f"{redacted(parts.url)!r}: rpc:// takes no address, it uses the application's broker."
        )
    return RpcBackend(parts.transport, parts.names, parts.clock)


def _postgresql(parts: BackendParts) -> ResultBackend:
    try:
        import asyncpg  # noqa: F401, PLC0415 - an extra, which only this backend needs
    except ImportError as error:
        raise ConfigurationError(
            "the postgresql:// result backend needs the driver asyncpg, which is not installed.\n"
            "  pip install 'stem-amqp[postgres]'"
        ) from error
    from stem_amqp.results.postgres.address import parse_address  # noqa: PLC0415
    from stem_amqp.results.postgres.backend import PostgresBackend  # noqa: PLC0415

    address = parse_address(parts.url, parts.tls_paths)
    return PostgresBackend(address, parts.names.namespace, parts.clock)


_BUILT_IN: dict[str, BackendFactory] = {
    "memory": _memory,
    "postgres": _postgresql,
    "postgresql": _postgresql,
    "redis": _redis,
    "rediss": _redis,
    "rpc": _rpc,
    "sqlite": _sqlite,
}
# Module state on purpose: a backend is registered before any application exists.
_registered: dict[str, BackendFactory] = {}


def register(scheme: str, factory: BackendFactory) -> None:
    """Make a backend of your own available to ``STEM_BACKEND_URL``, in this process.

    A package declares an entry point of the group ``stem_amqp.backends`` instead, which every process
    finds. A registered backend takes precedence over an installed one.

    Args:
        scheme: the URL's scheme, such as ``s3``.
        factory: creates the backend. Registering the same one again is not an error.

    Raises:
        ConfigurationError: the scheme is taken, or is not a valid scheme.
    """
    if not _SCHEME.fullmatch(scheme):
        raise ConfigurationError(
            f"{scheme!r} is not a URL scheme: lower-case letters, digits, '+', '.', '-', such as 's3'"
        )
    taken = _BUILT_IN.get(scheme) or _registered.get(scheme)
    if taken is not None and taken is not factory:
        raise ConfigurationError(f"there is a result backend for {scheme}:// already")
    _registered[scheme] = factory


def backend_tls(settings: Settings) -> TlsPaths:
    """Return the TLS files that the settings name for the result backend."""
    return TlsPaths(settings.backend_tls_ca, settings.backend_tls_cert, settings.backend_tls_key)


def create(
    url: str,
    *,
    clock: Clock,
    transport: Transport,
    names: Names,
    ttl: float,
    tls_paths: TlsPaths | None = None,
) -> ResultBackend:
    """Create the backend that a URL names; it is not opened yet.

    Args:
        url: ``memory://``, ``memory://name`` (the same name is the same store in this process),
            ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` with TLS,
            ``rpc://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``postgresql://user:password@host/database``, or one with a scheme that was registered or
            that an installed package provides.
        clock: the time that TTLs are measured with.
        transport: the broker.
        names: the names on the broker.
        ttl: seconds that results are kept unless a task says otherwise.
        tls_paths: the TLS files of the settings; see `backend_tls`.

    Raises:
        ConfigurationError: the URL, a TLS file or the package behind the scheme cannot be used.
    """
    scheme, separator, _ = url.partition("://")
    factory = _factory(scheme) if separator else None
    if factory is None:
        raise _unknown(url, scheme)
    backend: object = factory(
        BackendParts(
            url=url,
            clock=clock,
            transport=transport,
            names=names,
            ttl=ttl,
            tls_paths=tls_paths or NO_PATHS,
        )
    )
    if not isinstance(backend, ResultBackend):
        raise ConfigurationError(
            f"the factory of {scheme}:// made a {type(backend).__name__}, which is not a ResultBackend.\n"
            "  A factory takes BackendParts and returns a backend that is not opened yet."
        )
    return backend


def create_from(settings: Settings, transport: Transport, names: Names) -> ResultBackend:
    """Create the backend that the settings name; it is not opened yet.

    Args:
        settings: the application's settings.
        transport: the broker, whose clock the backend uses.
        names: the names on it.

    Raises:
        ConfigurationError: as for `create`.
    """
    return create(
        settings.backend_url.get_secret_value(),
        clock=transport.clock,
        transport=transport,
        names=names,
        ttl=settings.result_ttl,
        tls_paths=backend_tls(settings),
    )


def _factory(scheme: str) -> BackendFactory | None:
    """Return the factory of a scheme. Installed ones come last, so that they override nothing."""
    return _BUILT_IN.get(scheme) or _registered.get(scheme) or _installed_factory(scheme)


def _installed_factory(scheme: str) -> BackendFactory | None:
    """Import the installed factory of a scheme; nothing else is imported."""
    found = list(entry_points(group=ENTRY_POINTS, name=scheme))
    if not found:
        return None
    if len(found) > 1:
        owners = " and ".join(sorted(map(_distribution, found)))
        raise ConfigurationError(
            f"{owners} both provide a result backend for {scheme}://.\n  Uninstall all but one."
        )
    (point,) = found
    origin = f"the result backend for {scheme}:// of {_distribution(point)} ({point.value})"
    try:
        factory = point.load()
    except Exception as error:  # the import of another package's module may raise anything
        raise ConfigurationError(
            f"{origin} cannot be imported: {type(error).__name__}: {error}\n"
            f"  Reinstall {_distribution(point)} with what it needs, or correct STEM_BACKEND_URL."
        ) from error
    if not callable(factory):
        raise ConfigurationError(
            f"{origin} is a {type(factory).__name__}, not a function that creates a backend.\n"
            "  Its entry point must name a BackendFactory."
        )
    return cast("BackendFactory", factory)


def _distribution(point: EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else point.dist.name


def _unknown(url: str, scheme: str) -> ConfigurationError:
    installed = {point.name for point in entry_points(group=ENTRY_POINTS)}
    schemes = sorted(_BUILT_IN.keys() | _registered.keys() | installed)
    known = ", ".join(f"{name}://" for name in schemes)
    close = difflib.get_close_matches(scheme.lower(), schemes, n=1)
    hint = f" Did you mean {close[0]}://?" if close else ""
    return ConfigurationError(
        f"no result backend is called {redacted(url)!r}: known are {known}.{hint}\n"
        "  Correct STEM_BACKEND_URL, or install the package that provides this backend."
    )
