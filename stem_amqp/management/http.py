"""One HTTP request to the management API, bounded in time and size.

It uses the connection of the standard library, which follows no redirects and uses no proxy: the
credentials are sent only to the configured host.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import orjson

from stem_amqp.errors import ConfigurationError
from stem_amqp.text import redacted

PORTS = {"http": 80, "https": 443}
"""The supported schemes, with their default ports."""
MAX_RESPONSE = 64 * 1024 * 1024
"""Maximum bytes of a response: ten times the lists of a virtual host with thousands of queues."""
_CHUNK = 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """The address of the API.

    Args:
        host: host name or IP address.
        port: TCP port.
        context: the TLS context that verifies the server; None uses plain HTTP.
        server_name: the name to verify in the server's certificate; None uses the host.
    """

    host: str
    port: int
    context: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The server's response.

    Args:
        status: the HTTP status.
        body: the whole body.
        location: the target of a redirect.
        date: the server's time, as HTTP writes it; empty if it sends none.
    """

    status: int
    body: bytes
    location: str = ""
    date: str = ""

    @property
    def time(self) -> float | None:
        """The server's time in seconds since the epoch; None if it sends none."""
        try:
            return parsedate_to_datetime(self.date).timestamp() if self.date else None
        except ValueError:
            return None

    @property
    def reason(self) -> str:
        """The reason of a refusal, as RabbitMQ gives it; empty without one."""
        try:
            document = orjson.loads(self.body)
        except ValueError:
            return ""
        reason = document.get("reason", "") if isinstance(document, dict) else ""
        return f"{reason:.500}" if isinstance(reason, str) else ""


class _Connection(http.client.HTTPConnection):
    """A connection that is shut down at its deadline, whatever it waits for."""

    def __init__(self, address: Address, timeout: float) -> None:
        super().__init__(address.host, address.port, timeout=timeout)
        self._address = address
        self._timer = threading.Timer(timeout, self._expire)
        self._timer.daemon = True
        self._socket: socket.socket | None = None
        self.late = False

    def connect(self) -> None:
        """Connect, and verify the server."""
        self._timer.start()
        plain = socket.create_connection((self.host, self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = self._address.context
        if context is None:
            self.sock = self._socket = plain
            return
        name = self._address.server_name or self.host
        self.sock = self._socket = sock = context.wrap_socket(
            plain, server_hostname=name, do_handshake_on_connect=False
        )
        sock.do_handshake()

    def end(self) -> None:
        """Close it for good; the library calls `close` also before the response is read."""
        self._timer.cancel()
        self.close()

    def _expire(self) -> None:
        # The timeout of a socket restarts with each received byte; this one does not
        self.late = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def exchange(
    address: Address,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None,
    timeout: float,
) -> Answer:
    """Send a request, and return the response.

    Args:
        address: the address of the API.
        method: such as ``GET``.
        path: path and query.
        headers: the headers of the request.
        content: the body of the request.
        timeout: seconds for everything, from the connection to the last byte.

    Raises:
        OSError: the connection failed; TimeoutError if it took too long.
        http.client.HTTPException: the response is not valid HTTP.
        ValueError: the response is larger than `MAX_RESPONSE`.
    """
    connection = _Connection(address, timeout)
    try:
        connection.request(method, path, content, dict(headers))
        response = connection.getresponse()
        answer = Answer(
            status=response.status,
            body=_body(response),
            location=response.getheader("Location", ""),
            date=response.getheader("Date", ""),
        )
    except (OSError, http.client.HTTPException):
        if connection.late:
            raise _late(timeout) from None
        raise
    finally:
        connection.end()
    if connection.late:  # a response without a length looks complete when the connection ends
        raise _late(timeout)
    return answer


def _late(timeout: float) -> TimeoutError:
    return TimeoutError(f"no complete answer within {timeout:g} s")


def _body(response: http.client.HTTPResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read(_CHUNK):
        size += len(part)
        if size > MAX_RESPONSE:
            raise ValueError(f"a response of more than {MAX_RESPONSE} bytes")
        parts.append(part)
    return b"".join(parts)


def read_url(variable: str, url: str) -> urllib.parse.SplitResult:
    """Split a URL into its parts.

    Args:
        variable: the setting, for the error.
        url: its value.

    Raises:
        ConfigurationError: its host or port is not valid.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError:  # its message may quote a part of the password
        raise ConfigurationError(
            f"{variable} has no valid host and port\n"
            "  Write scheme://user:password@host:port/, with the characters / ? # @ : % of user and"
            " password\n  as %2F %3F %23 %40 %3A %25."
        ) from None
    return parts


def split_url(text: str) -> urllib.parse.SplitResult:
    """Split the management URL into its parts.

    Args:
        text: the setting.

    Raises:
        ConfigurationError: it is not a valid URL of a management API.
    """
    own = read_url("STEM_MANAGEMENT_URL", text)
    usable = own.scheme in PORTS and own.hostname
    # With an unescaped character in the password, its first part would be taken for the host
    if not usable or ("@" in text and "@" not in own.netloc):
        raise ConfigurationError(
            f"STEM_MANAGEMENT_URL is {redacted(text)[:200]!r}, which is not a valid URL\n"
            "  Write http://host:15672, or https:// with TLS; user and password"
            " percent-encoded."
        )
    return own


def host_of(url: urllib.parse.SplitResult) -> str:
    """Return the host for a URL, with IPv6 addresses in brackets."""
    host = url.hostname or "localhost"
    return f"[{host}]" if ":" in host else host
