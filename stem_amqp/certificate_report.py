"""How long the certificates of an application's connections are still valid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stem_amqp.certificates import end_of_file, end_of_server
from stem_amqp.durations import format_seconds
from stem_amqp.results.factory import backend_tls
from stem_amqp.results.postgres_address import parse_address
from stem_amqp.results.redis_address import RedisAddress
from stem_amqp.settings import Settings
from stem_amqp.tls import BACKEND, BROKER, TlsPaths, client_context
from stem_amqp.transport.amqp.urls import BrokerUrl

EXPIRY_WARNING = 14 * 86400.0
"""Seconds before the end of a certificate from which on there is a warning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateReport:
    """When certificates end.

    Args:
        ends: what each certificate is, and when it ends.
        silent: a line for each server that showed none, such as one that is down.
        now: seconds since the epoch.
    """

    ends: tuple[tuple[str, datetime], ...]
    silent: tuple[str, ...]
    now: float

    @property
    def expired(self) -> bool:
        """Whether one has ended."""
        return self._one_ends_within(0)

    @property
    def warning(self) -> bool:
        """Whether one has ended or will soon."""
        return self._one_ends_within(EXPIRY_WARNING)

    def _one_ends_within(self, seconds: float) -> bool:
        return any(end.timestamp() - self.now <= seconds for _, end in self.ends)

    def __str__(self) -> str:
        lines = [f"{what} {self._validity(end)}" for what, end in self.ends]
        return "\n  ".join([*lines, *self.silent])

    def _validity(self, end: datetime) -> str:
        left = end.timestamp() - self.now
        if left <= 0:
            return f"EXPIRED on {end:%Y-%m-%d %H:%M} UTC"
        return f"is valid until {end:%Y-%m-%d}, {format_seconds(round(left))} left"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Server:
    """A server that shows a certificate.

    Args:
        label: its URL, for people.
        host: where it is.
        port: its TCP port.
        name: the server name to ask for.
        paths: the files that it is looked at with.
        own: the client certificate that it is shown.
        variables: how the names of their settings begin.
        postgres: whether it is a PostgreSQL.
    """

    label: str
    host: str
    port: int
    name: str
    paths: TlsPaths
    own: Path | None
    variables: str
    postgres: bool = False


def uses_tls(settings: Settings) -> bool:
    """Say whether a broker or the result backend is reached through TLS.

    Raises:
        ConfigurationError: the backend's URL cannot be used.
    """
    return any(True for _ in _servers(settings))


async def look_at_certificates(settings: Settings, *, now: float) -> CertificateReport:
    """Look at the client's certificates and at those of brokers and result backend.

    Args:
        settings: the settings.
        now: seconds since the epoch.

    Raises:
        ConfigurationError: a TLS file or a URL cannot be used.
    """
    silent: list[str] = []
    servers = list(_servers(settings))
    own = {server.own for server in servers}
    ends = [
        (f"the client's certificate {cert}", end_of_file(cert))
        for cert in sorted(path for path in own if path is not None)
    ]
    for server in servers:
        paths = server.paths
        context = client_context(paths.ca, paths.cert, paths.key, variables=server.variables)
        try:
            end = await end_of_server(
                server.host, server.port, context, server.name, postgres=server.postgres
            )
        except (OSError, EOFError, ValueError) as error:
            silent.append(f"{server.label} shows no certificate: {error}")
        else:
            ends.append((f"the certificate of {server.label}", end))
    return CertificateReport(ends=tuple(ends), silent=tuple(silent), now=now)


def _servers(settings: Settings) -> Iterator[_Server]:
    paths = TlsPaths(settings.tls_ca, settings.tls_cert, settings.tls_key)
    for secret in settings.broker_url:
        text = secret.get_secret_value()
        if text.startswith("amqps:"):
            url = BrokerUrl.parse(text)
            yield _Server(
                label=str(url),
                host=url.host,
                port=url.port,
                name=settings.tls_server_name or url.host,
                paths=paths,
                own=paths.cert,
                variables=BROKER,
            )
    yield from _backend_servers(settings)


def _backend_servers(settings: Settings) -> Iterator[_Server]:
    url, paths = settings.backend_url.get_secret_value(), backend_tls(settings)
    if url.startswith("rediss:"):
        redis = RedisAddress.parse(url, paths)
        yield _Server(
            label=str(redis),
            host=redis.host,
            port=redis.port,
            name=redis.host,
            paths=redis.tls_paths,
            own=redis.tls_paths.cert,
            variables=BACKEND,
        )
    elif url.startswith(("postgres:", "postgresql:")):
        postgres = parse_address(url, paths)
        if not postgres.speaks_tls:
            return
        own = paths.cert
        if postgres.sslcert is not None:
            own = Path(postgres.sslcert)
        for host, port in postgres.hosts:
            yield _Server(
                label=f"postgresql://{host}:{port}",
                host=host,
                port=port,
                name=host,
                paths=paths,
                own=own,
                variables=BACKEND,
                postgres=True,
            )
