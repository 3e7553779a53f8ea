"""Encrypted bodies: AES-256-GCM, the nonce in front, the key's id in the header ``stem-encryption``.

The domain, the namespace and the key's id are bound to what is encrypted: it decrypts as nothing else.
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
        namespace: the namespace that it is for.

    Returns:
        The body for the wire, and the value of its header.
    """
    header = f"{key.algorithm.value}:{key.id}"
    return key.encrypt(body, _bound(header, domain, namespace)), header


def decrypt(
    ring: KeyRing, body: bytes, headers: Mapping[str, Any], *, domain: Domain, namespace: str
) -> bytes:
    """Return the body of a message, decrypted if it is encrypted.

    Args:
        ring: the keys.
        body: the bytes as they came.
        headers: the headers as they came.
        domain: what kind of message it is.
        namespace: the namespace that it is for.

    Raises:
        DecodeError: it is encrypted with a key that is not here, or is not what was encrypted.
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
        raise DecodeError(f"the body is not what was encrypted with the key {key_id!r}", body)
    return plain


def unknown_key(headers: Mapping[str, Any]) -> str:
    """Say that a body is encrypted with a key that is not here."""
    return f"the body is encrypted ({str(headers[ENCRYPTION])[:100]}), and the key is not here"


def _bound(header: str, domain: Domain, namespace: str) -> bytes:
    return f"stem-amqp/1 {domain.value} {namespace} {header}".encode()
