"""Encrypted bodies: AES-256-GCM, the nonce in front, the key's id in the header ``stem-encryption``.

Domain, namespace and key id are additional authenticated data: a body decrypts only with the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stem_amqp.errors import DecodeError
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import CipherKey
from stem_amqp.signing.signer import ENCRYPTION, Domain


def encrypt(key: CipherKey, body: bytes, *, domain: Domain, namespace: str) -> tuple[bytes, str]:
    """Encrypt a body.

    Args:
        key: the key.
        body: the bytes.
        domain: what kind of message it is.
        namespace: the namespace of the message.

    Returns:
        The encrypted body, and the value of its header.
    """
    header = f"{key.algorithm.value}:{key.id}"
    return key.encrypt(body, _bound(header, domain, namespace)), header


def decrypt(
    ring: KeyRing, body: bytes, headers: Mapping[str, Any], *, domain: Domain, namespace: str
) -> bytes:
    """Return the body of a message, decrypted if it is encrypted.

    Args:
        ring: the keys.
        body: the received bytes.
        headers: the received headers.
        domain: what kind of message it is.
        namespace: the namespace of the message.

    Raises:
        DecodeError: this process does not have the key, or the body was changed.
    """
    header = headers.get(ENCRYPTION)
    if header is None:
        return body
    algorithm, _, key_id = str(header).partition(":")
    key = ring.find(key_id)
    if not isinstance(key, CipherKey) or key.algorithm.value != algorithm:
        raise DecodeError(unknown_key(headers), body)
    plain = key.decrypt(body, _bound(f"{algorithm}:{key_id}", domain, namespace))
    if plain is None:
        raise DecodeError(
            f"the body cannot be decrypted with the key {key_id!r}: it was changed", body
        )
    return plain


def unknown_key(headers: Mapping[str, Any]) -> str:
    """Return the problem of a body that is encrypted with a key that this process does not have."""
    return f"the body is encrypted ({str(headers[ENCRYPTION])[:100]}), and this process has no such key"


def _bound(header: str, domain: Domain, namespace: str) -> bytes:
    return f"stem-amqp/1 {domain.value} {namespace} {header}".encode()
