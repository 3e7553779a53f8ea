"""TLS: from the paths in the settings to a context, with errors that name the file."""

from __future__ import annotations

import ssl
from pathlib import Path

from stem_amqp.errors import ConfigurationError


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
