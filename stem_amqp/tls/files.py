"""TLS contexts from the paths in the settings, with errors that name the file.

`TlsFiles` is for clients that connect repeatedly, to brokers and result backends: the next connection
uses a certificate that was replaced on disk.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from stem_amqp.errors import ConfigurationError
from stem_amqp.text import UnreadableFileError, check_regular

log = logging.getLogger("stem_amqp.tls")

BROKER = "STEM_TLS"
BACKEND = "STEM_BACKEND_TLS"
"""Prefixes of the settings' names: for the broker, and for the result backend."""

TlsSource: TypeAlias = ssl.SSLContext | Callable[[], ssl.SSLContext]
"""A context, or a function that returns the current one: call it for each connection."""


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """The paths of a client's TLS files, for one kind of server.

    Args:
        ca: PEM bundle to verify the other side with; None means the system's authorities.
        cert: PEM client certificate, for a server that asks for one.
        key: PEM key of the client certificate; None when it is in the same file.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        """Return whether any path is set."""
        return self != TlsPaths()


NO_PATHS = TlsPaths()


class TlsFiles:
    """The TLS files of a client; calling it returns a context with their current content.

    While files are being replaced, certificate and key may not match. The old context is used then.

    Args:
        ca: PEM bundle to verify the other side with; None means the system's authorities.
        cert: PEM client certificate, for a server that asks for one.
        key: PEM key of the client certificate; None when it is in the same file.
        variables: the prefix of the settings' names, for errors.

    Raises:
        ConfigurationError: as `client_context`.
    """

    def __init__(
        self,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        *,
        variables: str = BROKER,
    ) -> None:
        self._files = (ca, cert, key)
        self._variables = variables
        self._stamp = self._new_stamp()
        self._context = client_context(ca, cert, key, variables=variables)

    def __call__(self) -> ssl.SSLContext:
        """Return the context for a new connection; never raises."""
        stamp = self._new_stamp()
        if stamp != self._stamp:
            try:
                self._context = client_context(*self._files, variables=self._variables)
            except ConfigurationError as error:
                log.warning("new TLS files cannot be used, the old ones stay in use: %s", error)
            else:
                self._stamp = stamp
                log.info("the TLS files have changed: new connections use them")
        return self._context

    def _new_stamp(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._files]


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def client_context(
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    *,
    variables: str = BROKER,
) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and host name.

    Args:
        ca: PEM bundle to verify the server with; None means the system's authorities.
        cert: PEM client certificate, for a server that asks for one.
        key: PEM key of the client certificate; None when it is in the same file.
        variables: the prefix of the settings' names, for errors.

    Raises:
        ConfigurationError: a file is missing, unreadable or not PEM, or the key does not match the certificate.
    """
    if key is not None and cert is None:
        raise ConfigurationError(
            f"{variables}_KEY is {key}, but its certificate is missing: set {variables}_CERT"
        )
    _check_readable(f"{variables}_CA", ca)
    _check_readable(f"{variables}_CERT", cert)
    _check_readable(f"{variables}_KEY", key)
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{variables}_CA: {ca} holds no certificate in PEM format ({error.reason})"
        ) from None
    if cert is not None:
        _load_client_certificate(context, cert, key, variables)
    return context


def _check_readable(variable: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        check_regular(path)
    except UnreadableFileError as error:
        raise ConfigurationError(f"{variable}: cannot read {path}: {error}") from None


def _load_client_certificate(
    context: ssl.SSLContext, cert: Path, key: Path | None, variables: str
) -> None:
    def no_password() -> str:
        # without this callback OpenSSL would prompt on the terminal and block a service for ever
        raise ConfigurationError(
            f"{variables}_KEY: {key or cert} is encrypted; give a key without a passphrase"
        )

    try:
        context.load_cert_chain(cert, key, password=no_password)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{variables}_CERT and {variables}_KEY: {cert} and {key or cert} are not a certificate and"
            f" its key in PEM format ({error.reason or 'not PEM'})"
        ) from None
