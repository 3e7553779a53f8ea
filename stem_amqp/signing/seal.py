"""Sign and encrypt the bodies of task messages, verify and decrypt them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stem_amqp.errors import DecodeError, NotEncryptedError, SignatureError
from stem_amqp.settings import Signatures
from stem_amqp.signing.cipher import decrypt, encrypt
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.publish import (
    MARK,
    PUBLISH,
    Publish,
    Stamp,
    sign_publish,
    verify_publish,
)
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
    """The state of a sealed message, for operators.

    Args:
        body: the decrypted body; unchanged if this process does not have the key.
        encryption: the value of ``stem-encryption``; None if the body is not encrypted.
        signature: whether the signature is valid, as text; None if there is none.
        problem: why the body cannot be decrypted; None if it is decrypted or not encrypted.
        trusted: whether the signature is valid.
    """

    body: bytes
    encryption: str | None = None
    signature: str | None = None
    problem: str | None = None
    trusted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """Encrypts and signs the bodies of task messages, verifies and decrypts them.

    Args:
        ring: the keys.
        namespace: the namespace of the messages.
        required: whether a message without a signature is rejected.
        encrypts: whether bodies are encrypted.
        needs_encryption: whether a body that is not encrypted is rejected.
        signatures: what is signed in addition to bodies; None decides by the keys.
    """

    ring: KeyRing
    namespace: str
    required: bool
    encrypts: bool = False
    needs_encryption: bool = False
    signatures: Signatures | None = None

    @property
    def level(self) -> Signatures:
        """What is signed and verified in addition to bodies, with the current keys."""
        keys = self.ring.current
        if not keys.verifies:
            return Signatures.BODIES
        if self.signatures is not None:
            return self.signatures
        return Signatures.REQUIRED if keys.verifiers_can_sign else Signatures.TRANSITION

    @property
    def signs_all(self) -> bool:
        """Whether results and commands need a signature, and every publish of a new task."""
        return self.level in {Signatures.REQUIRED, Signatures.STRICT}

    @property
    def mark(self) -> dict[str, Any]:
        """The field in the body of a task that says that every publish of it is signed."""
        return {MARK: True} if self.signs_all and self.ring.current.publishing else {}

    def signed(self, headers: Mapping[str, Any]) -> bool:
        """Return whether a message has a signature, valid or not, or needs none."""
        return SIGNATURE in headers or KEY in headers or not self.ring.current.verifies

    def stamp(
        self, publish: Publish, *, domain: Domain, at: float, nonce: str | None = None
    ) -> dict[str, str]:
        """Return the header that signs a publish; empty if this process does not sign publishes.

        Args:
            publish: the publish.
            domain: the kind of publish.
            at: seconds since the epoch.
            nonce: None generates one.
        """
        keys = self.ring.current
        key = keys.signing if domain is Domain.COMMAND else keys.publishing
        if key is None or self.level is Signatures.BODIES:
            return {}
        header = sign_publish(
            key, publish, domain=domain, namespace=self.namespace, at=at, nonce=nonce
        )
        return {PUBLISH: header}

    def check(self, publish: Publish, *, domain: Domain, marked: bool) -> Stamp | None:
        """Verify the signature of a publish; None if it has none and needs none.

        Args:
            publish: the received publish, with the expected queue.
            domain: the expected kind of publish.
            marked: whether the body says that every publish of it is signed.

        Raises:
            SignatureError: the signature is missing or not valid for this publish.
        """
        level = self.level
        if level is Signatures.BODIES:
            return None
        lenient = level is not Signatures.STRICT and not (marked and self.signs_all)
        header = publish.headers.get(PUBLISH)
        if header is None:
            if lenient:
                return None
            raise SignatureError(
                "this publish of the message is not signed, but its body says that all publishes are"
                if marked
                else "this publish of the message is not signed (STEM_SIGNATURES=strict)"
            )
        try:
            return verify_publish(
                self.ring, header, publish, domain=domain, namespace=self.namespace
            )
        except SignatureError:
            # An earlier release retries a task with the header of the previous publish
            if lenient:
                return None
            raise

    def close(
        self, body: bytes, headers: Mapping[str, Any], *, domain: Domain = Domain.TASK
    ) -> tuple[bytes, dict[str, Any]]:
        """Encrypt a body if configured, and sign it.

        Args:
            body: the plaintext.
            headers: the headers of the message.
            domain: the kind of message.

        Returns:
            The body and the headers to publish.

        Raises:
            ConfigurationError: a signature or encryption is configured, and no key for it is active.
        """
        keys, sealed = self.ring.current, dict(headers)
        encryption = NOT_ENCRYPTED
        if self.encrypts:
            key = keys.to_encrypt()
            body, encryption = encrypt(key, body, domain=domain, namespace=self.namespace)
            sealed[ENCRYPTION] = encryption
        if keys.signing is not None or self.required:
            sealed |= sign(
                self.ring,
                body,
                domain=domain,
                namespace=self.namespace,
                encryption=encryption,
            )
        return body, sealed

    def open(
        self, body: bytes, headers: Mapping[str, Any], *, domain: Domain = Domain.TASK
    ) -> bytes:
        """Verify a message and return its decrypted body.

        Args:
            body: the received body.
            headers: the received headers.
            domain: the expected kind of message.

        Raises:
            SignatureError: the signature is not valid, or missing although required, or the body is
                not encrypted although required.
            DecodeError: the body cannot be decrypted.
        """
        if self.needs_encryption and ENCRYPTION not in headers:
            raise NotEncryptedError("the body is not encrypted (STEM_REQUIRE_ENCRYPTION is set)")
        signed = SIGNATURE in headers or KEY in headers
        if self.required or (signed and self.ring.current.verifies):
            verify(self.ring, body, headers, domain=domain, namespace=self.namespace)
        return decrypt(self.ring, body, headers, domain=domain, namespace=self.namespace)

    def inspect(self, body: bytes, headers: Mapping[str, Any]) -> SealReport:
        """Return the state of a message, for operators; malformed content never raises.

        Args:
            body: the received body.
            headers: the received headers.
        """
        signature, trusted = None, False
        if SIGNATURE in headers or KEY in headers or self.required:
            try:
                key = verify(self.ring, body, headers, domain=Domain.TASK, namespace=self.namespace)
                signature, trusted = f"valid, by {key.id}", True
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
            trusted=trusted,
        )
