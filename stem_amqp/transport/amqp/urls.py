"""Broker URLs: checked once, and shown without their passwords."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from yarl import URL

from stem_amqp.errors import ConfigurationError

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerUrl:
    """A broker's URL.

    Args:
        url: the whole URL, password included: never print it.
        user: the user's name.
        host: host name or address.
        port: the TCP port.
        virtual_host: RabbitMQ's virtual host.
    """

    url: URL = field(repr=False)
    user: str
    host: str
    port: int
    virtual_host: str

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.scheme == "amqps"

    def with_heartbeat(self, seconds: float) -> BrokerUrl:
        """Return it with an AMQP heartbeat, unless the URL has its own.

        Args:
            seconds: the interval; the broker is given up after two of them in silence.
        """
        if "heartbeat" in self.url.query:
            return self
        url = self.url.update_query(heartbeat=str(max(1, round(seconds))))
        return replace(self, url=url)

    def __str__(self) -> str:
        return f"{self.url.scheme}://{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> BrokerUrl:
        """Read a URL.

        Args:
            text: such as ``amqp://user:password@host:5672/vhost``.

        Raises:
            ConfigurationError: it cannot be used; the message shows no password.
        """
        try:
            url = URL(text)
            port = url.port
        except ValueError:
            # yarl's own message may quote a part of the password
            raise _unusable(text, "it has no host and port that can be read") from None
        if url.scheme not in _PORTS:
            raise _unusable(text, "it must start with amqp:// or amqps://")
        if not url.host:
            raise _unusable(text, "the host is missing")
        if url.fragment:
            raise _unusable(text, "everything after # is lost")
        return cls(
            url=url,
            user=url.user or "guest",
            host=url.host,
            port=port or _PORTS[url.scheme],
            virtual_host=url.path[1:] or "/",
        )


def parse_urls(texts: Iterable[str]) -> tuple[BrokerUrl, ...]:
    """Read the broker URLs, in the order in which they are tried.

    Args:
        texts: the URLs.

    Raises:
        ConfigurationError: there is none, or one cannot be used.
    """
    urls = tuple(BrokerUrl.parse(text) for text in texts)
    if not urls:
        raise ConfigurationError(
            "no broker URL is given; set STEM_BROKER_URL, such as amqp://user:password@host:5672/"
        )
    return urls


def _unusable(text: str, problem: str) -> ConfigurationError:
    scheme, _, rest = text.partition("://")
    # a password that is not escaped may hold any of :/?#, so all before the last @ is hidden
    login, _, place = rest.rpartition("@")
    shown = f"{scheme}://{'***@' if login else ''}{place.partition('?')[0]}"
    return ConfigurationError(
        f"the broker URL {shown} cannot be used: {problem}.\n"
        "  Write amqp://user:password@host:5672/vhost in STEM_BROKER_URL, with the characters"
        " / ? # @ : % of user and password as %2F %3F %23 %40 %3A %25"
    )
