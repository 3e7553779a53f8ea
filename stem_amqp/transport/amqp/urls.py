"""Broker URLs: parsed and checked once, and printed without passwords."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from yarl import URL

from stem_amqp.errors import ConfigurationError
from stem_amqp.text import redacted

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
            seconds: the interval; a connection without data for two intervals is aborted.
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
            ConfigurationError: it is not valid; the message contains no password.
        """
        if not isinstance(text, str):
            raise _unusable(type(text).__name__, "it is not a string")
        try:
            url = URL(text)
            port = url.port
        except ValueError:
            # yarl's own message may quote a part of the password
            raise _unusable(text, "it has no valid host and port") from None
        if url.scheme not in _PORTS:
            raise _unusable(text, "it must start with amqp:// or amqps://")
        if not url.host:
            raise _unusable(text, "the host is missing")
        if url.raw_user is None and "@" in text:
            raise _unusable(text, "a character in user or password ends them before the @")
        if url.fragment:
            raise _unusable(text, "everything after # is ignored")
        return cls(
            url=url,
            user=url.user or "guest",
            host=url.host,
            port=port or _PORTS[url.scheme],
            virtual_host=virtual_host_of(url),
        )


def virtual_host_of(url: URL) -> str:
    """Return the virtual host that a URL's path names, decoded once.

    Args:
        url: the URL. Without a path, it names the virtual host ``/``.
    """
    return unquote(url.raw_path[1:]) or "/"


def parse_urls(texts: Iterable[str]) -> tuple[BrokerUrl, ...]:
    """Read the broker URLs, in the order in which they are tried.

    Args:
        texts: the URLs.

    Raises:
        ConfigurationError: there is no URL, or one is not valid.
    """
    urls = tuple(BrokerUrl.parse(text) for text in texts)
    if not urls:
        raise ConfigurationError(
            "no broker URL is given; set STEM_BROKER_URL, such as amqp://user:password@host:5672/"
        )
    return urls


def _unusable(text: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"the broker URL {redacted(text):.300} is not valid: {problem}.\n"
        "  Write amqp://user:password@host:5672/vhost in STEM_BROKER_URL, with the characters"
        " / ? # @ : % of user and password as %2F %3F %23 %40 %3A %25"
    )
