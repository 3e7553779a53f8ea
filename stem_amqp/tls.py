"""TLS: from the paths in the settings to a context, with errors that name the file.

`TlsFiles` is for whoever connects more than once: brokers, and result backends. A certificate that is
replaced on disk is used by the next connection.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from stem_amqp.errors import ConfigurationError

log = logging.getLogger("stem_amqp.tls")

BROKER = "STEM_TLS"
BACKEND = "STEM_BACKEND_TLS"
"""How the names of the settings begin: those for the broker, and those for the result backend."""

TlsSource: TypeAlias = ssl.SSLContext | Callable[[], ssl.SSLContext]
"""A context, or what gives the one of the moment: ask it for each connection."""


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Where the TLS files of a client are, for one kind of server.

    Args:
        ca: PEM bundle to verify the other side with; None takes the system's.
        cert: PEM client certificate, for a server that asks for one.
        key: PEM key of the client certificate; None when it is in the same file.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return self != TlsPaths()


NO_PATHS = TlsPaths()


class TlsFiles:
    """The TLS files of a client; called, it returns a context with what they hold now.

    Files that are being replaced may not fit together for a moment. The old context goes on then.

    Args:
        ca: PEM bundle to verify the other side with; None takes the system's.
        cert: PEM client certificate, for a server that asks for one.
        key: PEM key of the client certificate; None when it is in the same file.
        variables: how the settings' names begin, for errors.

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
        self._stamp = self._look()
        self._context = client_context(ca, cert, key, variables=variables)

    def __call__(self) -> ssl.SSLContext:
        """Return the context for a new connection; never raises."""
        stamp = self._look()
        if stamp != self._stamp:
            try:
                self._context = client_context(*self._files, variables=self._variables)
            except ConfigurationError as error:
                log.warning("new TLS files cannot be used, the old ones go on: %s", error)
            else:
                self._stamp = stamp
                log.info("the TLS files have changed: new connections use them")
        return self._context

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._files]


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
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
        ca: PEM bundle to verify the server with; None takes the system's.
        cert: PEM client certificate, for a server that asks for one.
        key: PEM key of the client certificate; None when it is in the same file.
        variables: how the settings' names begin, for errors.

    Raises:
        ConfigurationError: a file is missing, unreadable, no PEM, or key and certificate differ.
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
        with path.open("rb"):
            return
    except OSError as error:
        raise ConfigurationError(f"{variable}: cannot read {path}: {error.strerror}") from None


def _load_client_certificate(
    context: ssl.SSLContext, cert: Path, key: Path | None, variables: str
) -> None:
    def no_password() -> str:
        # without this callback OpenSSL would ask on the terminal and hang a service for ever
        raise ConfigurationError(
            f"{variables}_KEY: {key or cert} is encrypted; give a key without a passphrase"
        )

    try:
        context.load_cert_chain(cert, key, password=no_password)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{variables}_CERT and {variables}_KEY: {cert} and {key or cert} are no certificate with"
            f" its key in PEM format ({error.reason or 'not PEM'})"
        ) from None
