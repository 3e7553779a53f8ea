"""TLS: from the paths in the settings to a context, with errors that name the file.

`TlsFiles` is for whoever connects more than once: brokers, and result backends. A certificate that is
replaced on disk is used by the next connection.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from stem_amqp.errors import ConfigurationError

log = logging.getLogger("stem_amqp.tls")

TlsSource: TypeAlias = ssl.SSLContext | Callable[[], ssl.SSLContext]
"""A context, or what gives the one of the moment: ask it for each connection."""


class TlsFiles:
    """The TLS files of a client; called, it returns a context with what they hold now.

    Files that are being replaced may not fit together for a moment. The old context goes on then.

    Args:
        ca: PEM bundle to verify the other side with; None takes the system's.
        cert: PEM client certificate, for a server that asks for one.
        key: PEM key of the client certificate; None when it is in the same file.

    Raises:
        ConfigurationError: as `client_context`.
    """

    def __init__(
        self, ca: Path | None = None, cert: Path | None = None, key: Path | None = None
    ) -> None:
        self._files = (ca, cert, key)
        self._stamp = self._look()
        self._context = client_context(ca, cert, key)

    def __call__(self) -> ssl.SSLContext:
        """Return the context for a new connection; never raises."""
        stamp = self._look()
        if stamp != self._stamp:
            try:
                self._context = client_context(*self._files)
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
    ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return a context that verifies the broker's certificate and host name.

    Args:
        ca: PEM bundle to verify the broker with; None takes the system's.
        cert: PEM client certificate, for a broker that asks for one.
        key: PEM key of the client certificate; None when it is in the same file.

    Raises:
        ConfigurationError: a file is missing, unreadable, no PEM, or key and certificate differ.
    """
    if key is not None and cert is None:
        raise ConfigurationError(
            f"STEM_TLS_KEY is {key}, but its certificate is missing: set STEM_TLS_CERT"
        )
    _check_readable("STEM_TLS_CA", ca)
    _check_readable("STEM_TLS_CERT", cert)
    _check_readable("STEM_TLS_KEY", key)
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"STEM_TLS_CA: {ca} holds no certificate in PEM format ({error.reason})"
        ) from None
    if cert is not None:
        _load_client_certificate(context, cert, key)
    return context


def _check_readable(variable: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ConfigurationError(f"{variable}: cannot read {path}: {error.strerror}") from None


def _load_client_certificate(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    def no_password() -> str:
        # without this callback OpenSSL would ask on the terminal and hang a service for ever
        raise ConfigurationError(
            f"STEM_TLS_KEY: {key or cert} is encrypted; give a key without a passphrase"
        )

    try:
        context.load_cert_chain(cert, key, password=no_password)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"STEM_TLS_CERT and STEM_TLS_KEY: {cert} and {key or cert} are no certificate with its"
            f" key in PEM format ({error.reason or 'not PEM'})"
        ) from None
