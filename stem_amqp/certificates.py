"""When certificates end: of a file, and of what a server shows.

Python's ``ssl`` tells the end of a certificate only after it has verified it, which an expired one
never passes. So the validity is read from the certificate itself (RFC 5280, section 4.1).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stem_amqp.errors import ConfigurationError

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""PostgreSQL's message that asks for TLS: its length and the code for it."""
_FIELDS_BEFORE_VALIDITY = 3
"""Serial number, signature algorithm and issuer."""


def end_of_file(path: Path) -> datetime:
    """Return when the first certificate of a PEM file ends: the one that a client shows.

    Raises:
        ConfigurationError: it cannot be read, or holds no certificate.
    """
    try:
        found = _PEM.search(path.read_text(encoding="ascii", errors="replace"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        return end_of(ssl.PEM_cert_to_DER_cert(found.group() if found else ""))
    except ValueError:
        raise ConfigurationError(f"{path} holds no certificate in PEM format") from None


async def end_of_server(
    host: str, port: int, context: ssl.SSLContext, name: str, *, postgres: bool = False
) -> datetime:
    """Return when the certificate of a server ends, even of one that is not to be trusted.

    It is looked at and nothing is sent; whoever sends something verifies it first.

    Args:
        host: where to connect to.
        port: its TCP port.
        context: a context of this call alone: its verification is switched off.
        name: the server name to ask for.
        postgres: whether it is a PostgreSQL, where TLS is asked for first.

    Raises:
        OSError: no TLS session could be had.
        ValueError: it showed no certificate that can be read.
    """
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    early: dict[str, Any] = {} if postgres else {"ssl": context, "server_hostname": name}
    reader, writer = await asyncio.open_connection(host, port, **early)
    try:
        if postgres:
            writer.write(_SSL_REQUEST)
            if await reader.readexactly(1) != b"S":
                raise ConnectionError("it speaks no TLS")
            await writer.start_tls(context, server_hostname=name)
        return end_of(writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b"")
    finally:
        writer.transport.abort()


def end_of(certificate: bytes) -> datetime:
    """Return when a certificate ends.

    Args:
        certificate: X.509 in DER.

    Raises:
        ValueError: it is none.
    """
    try:
        body = _contents(_contents(certificate, _SEQUENCE), _SEQUENCE)
        if body[0] == _VERSION:
            body = _after(body)
        for _ in range(_FIELDS_BEFORE_VALIDITY):
            body = _after(body)
        end = _after(_contents(body, _SEQUENCE))
        if end[0] == _UTC_TIME:
            text = _contents(end, _UTC_TIME).decode()
            # Two digits of a year: 50 to 99 are of the last century (RFC 5280, 4.1.2.5.1)
            text = ("20" if text < "50" else "19") + text
        else:
            text = _contents(end, _GENERALIZED_TIME).decode()
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except IndexError:
        raise ValueError("this is no certificate: it is cut off") from None


def _element(data: bytes) -> tuple[int, int, int]:
    """Return tag, start and end of the contents of the first element."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    return tag, start, start + length


def _contents(data: bytes, wanted: int) -> bytes:
    tag, start, end = _element(data)
    if tag != wanted:
        raise ValueError(f"this is no certificate: element {tag:#x} where {wanted:#x} should be")
    return data[start:end]


def _after(data: bytes) -> bytes:
    return data[_element(data)[2] :]
