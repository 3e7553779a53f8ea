"""Expiry of certificates: of a file, and of the one that a server shows.

Python's ``ssl`` tells when a certificate expires only after it has verified it, and it never verifies
an expired one. So the certificate itself is read, with the ``cryptography`` package of the extra
``tls``; connections need only ``ssl``.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stem_amqp.errors import ConfigurationError
from stem_amqp.text import UnreadableFileError, check_regular

_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""PostgreSQL's message that asks for TLS: its length and its code."""


def can_read_certificates() -> bool:
    """Return whether the package that reads certificates is installed."""
    return find_spec("cryptography") is not None


def end_of_file(path: Path) -> datetime:
    """Return when the first certificate of a PEM file expires: the one that a client shows.

    Raises:
        ConfigurationError: the file cannot be read, or holds no certificate.
    """
    from cryptography import x509  # noqa: PLC0415 an extra

    try:
        check_regular(path)
        data = path.read_bytes()
    except (UnreadableFileError, OSError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from None
    try:
        return x509.load_pem_x509_certificate(data).not_valid_after_utc
    except ValueError:
        raise ConfigurationError(f"{path} holds no certificate in PEM format") from None


async def end_of_server(
    host: str, port: int, context: ssl.SSLContext, name: str, *, postgres: bool = False
) -> datetime:
    """Return when the certificate of a server expires, whether or not it is trusted.

    The certificate is not verified, and nothing secret is sent: connections that send something
    verify it first.

    Args:
        host: where to connect to.
        port: its TCP port.
        context: a context of this call alone: its verification is switched off.
        name: the server name to ask for.
        postgres: whether it is a PostgreSQL, where TLS is asked for first.

    Raises:
        OSError: there was no TLS session.
        ValueError: the server showed no certificate, or one that cannot be read.
    """
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    early: dict[str, Any] = {} if postgres else {"ssl": context, "server_hostname": name}
    reader, writer = await asyncio.open_connection(host, port, **early)
    try:
        if postgres:
            writer.write(_SSL_REQUEST)
            if await reader.readexactly(1) != b"S":
                raise ConnectionError("it does not speak TLS")
            await writer.start_tls(context, server_hostname=name)
        return end_of(writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b"")
    finally:
        writer.transport.abort()


def end_of(certificate: bytes) -> datetime:
    """Return when a certificate expires.

    Args:
        certificate: X.509 in DER.

    Raises:
        ValueError: it is not a certificate.
    """
    from cryptography import x509  # noqa: PLC0415 an extra

    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError as error:
        raise ValueError(f"this is not a certificate: {error}") from None
