"""Expiry of the certificates of an application's connections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stem_amqp.durations import format_seconds
from stem_amqp.results.factory import backend_tls
from stem_amqp.results.postgres.address import parse_address
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.settings import Settings
from stem_amqp.tls import BACKEND, BROKER, TlsPaths, client_context, end_of_file, end_of_server
from stem_amqp.transport.amqp.urls import BrokerUrl

EXPIRY_WARNING = 14 * 86400.0
"""Seconds before a certificate expires at which the warning begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateReport:
    """Expiry times of certificates.

    Args:
        expiries: the description of each certificate, and when it expires.
        without_certificate: one line for each server that sent no certificate, such as one that is
            down.
        now: seconds since the epoch.
    """

    expiries: tuple[tuple[str, datetime], ...]
    without_certificate: tuple[str, ...]
    now: float

    @property
    def expired(self) -> bool:
        """Whether a certificate has expired."""
        return self._any_expires_within(0)

    @property
    def warning(self) -> bool:
        """Whether a certificate has expired or expires soon."""
        return self._any_expires_within(EXPIRY_WARNING)

    def _any_expires_within(self, seconds: float) -> bool:
        return any(expiry.timestamp() - self.now <= seconds for _, expiry in self.expiries)

    def __str__(self) -> str:
        lines = [f"{what} {self._validity(expiry)}" for what, expiry in self.expiries]
        return "\n  ".join([*lines, *self.without_certificate])

    def _validity(self, expiry: datetime) -> str:
        left = expiry.timestamp() - self.now
        if left <= 0:
            return f"EXPIRED on {expiry:%Y-%m-%d %H:%M} UTC"
        return f"is valid until {expiry:%Y-%m-%d}, {format_seconds(round(left))} left"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Server:
    """A server with a certificate.

    Args:
        label: its URL, for messages.
        host: its host name.
        port: its TCP port.
        name: the server name to request (SNI).
        paths: the TLS files to connect with.
        own: the client certificate presented to it.
        variables: the prefix of the settings of these files.
        postgres: whether it is a PostgreSQL server.
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
    """Return whether a broker or the result backend is reached through TLS.

    Raises:
        ConfigurationError: the backend's URL cannot be used.
    """
    return any(True for _ in _servers(settings))


async def check_certificates(settings: Settings, *, now: float) -> CertificateReport:
    """Read the expiry of the client's certificates and of those of brokers and result backend.

    Args:
        settings: the settings.
        now: seconds since the epoch.

    Raises:
        ConfigurationError: a TLS file or a URL cannot be used.
    """
    without_certificate: list[str] = []
    servers = list(_servers(settings))
    own = {server.own for server in servers}
    expiries = [
        (f"the client's certificate {cert}", end_of_file(cert))
        for cert in sorted(path for path in own if path is not None)
    ]
    for server in servers:
        paths = server.paths
        context = client_context(paths.ca, paths.cert, paths.key, variables=server.variables)
        try:
            expiry = await end_of_server(
                server.host, server.port, context, server.name, postgres=server.postgres
            )
        except (OSError, EOFError, ValueError) as error:
            without_certificate.append(f"{server.label} sends no certificate: {error}")
        else:
            expiries.append((f"the certificate of {server.label}", expiry))
    return CertificateReport(
        expiries=tuple(expiries), without_certificate=tuple(without_certificate), now=now
    )


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
