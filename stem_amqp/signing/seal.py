"""What a producer does to a body before it publishes it, and a worker before it reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stem_amqp.errors import DecodeError, SignatureError
from stem_amqp.signing.cipher import decrypt, encrypt
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.signer import (
    ENCRYPTION,
    KEY,
    NOT_ENCRYPTED,
    SIGNATURE,
    Domain,
    sign,
    verify,
)

SEALED_TYPE = "application/octet-stream"
"""AMQP ``content_type`` of an encrypted body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SealReport:
    """What an operator may know of a sealed message.

    Args:
        body: the body to read: decrypted, or as it is where the key is not here.
        encryption: the value of ``stem-encryption``; None if the body is not encrypted.
        signature: what is to be said of the signature; None if there is none.
        problem: why the body cannot be decrypted; None if it can, or need not be.
    """

    body: bytes
    encryption: str | None = None
    signature: str | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """Encrypts and signs the bodies of task messages, and undoes it.

    Args:
        ring: the keys.
        namespace: the namespace that messages are for.
        required: whether a message without a signature is refused.
        encrypts: whether bodies are encrypted.
    """

    ring: KeyRing
    namespace: str
    required: bool
    encrypts: bool = False

    def close(self, body: bytes, headers: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """Encrypt a body if that is asked for, and sign what comes of it.

        Args:
            body: as written.
            headers: those of the message.

        Returns:
            The body and the headers for the wire.

        Raises:
            ConfigurationError: a signature or encryption is wanted, and no key for it is active.
        """
        keys, sealed = self.ring.current, dict(headers)
        encryption = NOT_ENCRYPTED
        if self.encrypts:
            key = keys.to_encrypt()
            body, encryption = encrypt(key, body, domain=Domain.TASK, namespace=self.namespace)
            sealed[ENCRYPTION] = encryption
        if keys.signing is not None or self.required:
            sealed |= sign(
                self.ring,
                body,
                domain=Domain.TASK,
                namespace=self.namespace,
                encryption=encryption,
            )
        return body, sealed

    def open(self, body: bytes, headers: Mapping[str, Any]) -> bytes:
        """Verify a message and return its body, decrypted.

        Args:
            body: as it came.
            headers: as they came.

        Raises:
            SignatureError: the signature is wrong, or missing where one is required.
            DecodeError: it cannot be decrypted.
        """
        signed = SIGNATURE in headers or KEY in headers
        if self.required or (signed and self.ring.current.verifies):
            verify(self.ring, body, headers, domain=Domain.TASK, namespace=self.namespace)
        return decrypt(self.ring, body, headers, domain=Domain.TASK, namespace=self.namespace)

    def look(self, body: bytes, headers: Mapping[str, Any]) -> SealReport:
        """Return what can be said of a message, for operators; nothing in it can make this fail.

        Args:
            body: as it came.
            headers: as they came.
        """
        signature = None
        if SIGNATURE in headers or KEY in headers or self.required:
            try:
                key = verify(self.ring, body, headers, domain=Domain.TASK, namespace=self.namespace)
                signature = f"valid, by {key.id}"
            except SignatureError as error:
                signature = f"not valid: {error}"
        encryption, problem = headers.get(ENCRYPTION), None
        try:
            body = decrypt(self.ring, body, headers, domain=Domain.TASK, namespace=self.namespace)
        except DecodeError as error:
            problem = error.problem
        return SealReport(
            body=body,
            encryption=None if encryption is None else str(encryption),
            signature=signature,
            problem=problem,
        )
