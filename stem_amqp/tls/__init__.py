"""TLS files and certificates."""

from stem_amqp.tls.certificates import can_read_certificates, end_of_file, end_of_server
from stem_amqp.tls.files import (
    BACKEND,
    BROKER,
    NO_PATHS,
    TlsFiles,
    TlsPaths,
    TlsSource,
    client_context,
)

__all__ = [
    "BACKEND",
    "BROKER",
    "NO_PATHS",
    "TlsFiles",
    "TlsPaths",
    "TlsSource",
    "can_read_certificates",
    "client_context",
    "end_of_file",
    "end_of_server",
]
