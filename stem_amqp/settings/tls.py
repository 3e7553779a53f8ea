"""The settings of encrypted connections."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field


class TlsSettings(BaseModel):
    """The settings of TLS to the broker and to the result backend; `Settings` has them."""

    tls_ca: Path | None = Field(default=None, description="CA bundle to verify the broker with.")
    tls_cert: Path | None = Field(default=None, description="Client certificate (PEM).")
    tls_key: Path | None = Field(default=None, description="Key of the client certificate (PEM).")
    tls_server_name: str | None = Field(
        default=None, description="Name to verify in the broker's certificate; default: the host."
    )
    backend_tls_ca: Path | None = Field(
        default=None, description="CA bundle to verify the result backend with."
    )
    backend_tls_cert: Path | None = Field(
        default=None, description="Client certificate for the result backend (PEM)."
    )
    backend_tls_key: Path | None = Field(default=None, description="Key of that certificate (PEM).")

    @property
    def certificates(self) -> tuple[Path, ...]:
        """The certificate files of the connections to brokers and result backend."""
        files = (self.tls_ca, self.tls_cert, self.backend_tls_ca, self.backend_tls_cert)
        return tuple(dict.fromkeys(file for file in files if file is not None))
