"""How long the certificates of an application's connections are still valid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from stem_amqp.certificates import end_of_file, end_of_server
from stem_amqp.durations import format_seconds
from stem_amqp.settings import Settings
from stem_amqp.tls import client_context
from stem_amqp.transport.amqp.urls import BrokerUrl

EXPIRY_WARNING = 14 * 86400.0
"""Seconds before the end of a certificate from which on there is a warning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateReport:
    """When certificates end.

    Args:
        ends: what each certificate is, and when it ends.
        silent: a line for each broker that showed none, such as one that is down.
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


def tls_urls(settings: Settings) -> list[BrokerUrl]:
    """Return the broker URLs that are reached through TLS."""
    texts = [url.get_secret_value() for url in settings.broker_url]
    return [BrokerUrl.parse(text) for text in texts if text.startswith("amqps:")]


async def look_at_certificates(settings: Settings, *, now: float) -> CertificateReport:
    """Look at the client's certificate and at those of the brokers.

    Args:
        settings: the settings.
        now: seconds since the epoch.

    Raises:
        ConfigurationError: a TLS file cannot be used.
    """
    ends: list[tuple[str, datetime]] = []
    silent: list[str] = []
    if settings.tls_cert is not None:
        end = end_of_file(settings.tls_cert)
        ends.append((f"the client's certificate {settings.tls_cert}", end))
    for url in tls_urls(settings):
        context = client_context(settings.tls_ca, settings.tls_cert, settings.tls_key)
        name = settings.tls_server_name or url.host
        try:
            end = await end_of_server(url.host, url.port, context, name)
        except (OSError, ValueError) as error:
            silent.append(f"{url} shows no certificate: {error}")
        else:
            ends.append((f"the certificate of {url}", end))
    return CertificateReport(ends=tuple(ends), silent=tuple(silent), now=now)
