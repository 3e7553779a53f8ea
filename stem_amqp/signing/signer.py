r"""Signatures over bodies, and the headers that carry them.

What is signed is one line and the body: ``stem-amqp/1 <domain> <namespace> <algorithm> <key id>
<encryption>\n``, with ``-`` where the body is not encrypted, then the bytes of the body as they are on
the wire.

**Covered**, and so not to be swapped: the body, with the task's id, name, arguments, metadata, expiry
and options; what kind of message it is (a task is no command); the namespace (a message of staging is
none of production); which key signed it and how; how the body is encrypted.

**Not covered**, because it changes on the way while the body does not: the queue and the exchange, the
attempt and the number of replays, the time before which it must not run, what went wrong, ``reply_to``
and the priority. So a signature stays valid through retries, delays, dead-lettering and replays, also
into another queue, and a worker that can only verify can do all of these. It does not tell a second
delivery of a message from the first: who can publish to the exchange and has seen a signed message
can have it run again, as the broker itself can. A task that must not run twice is idempotent, or keeps
a note of the ids that it has done.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from stem_amqp.errors import ConfigurationError, SignatureError
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import ID, SigningKey

SIGNATURE = "stem-signature"
"""Header: the algorithm and the signature in base64, ``hmac-sha256:…``."""
KEY = "stem-key"
"""Header: the id of the key."""
ENCRYPTION = "stem-encryption"
"""Header: the algorithm and the id of the key that the body is encrypted with."""
NOT_ENCRYPTED = "-"


class Domain(StrEnum):
    """What kind of message is signed; a signature for one is none for another."""

    TASK = "task"
    COMMAND = "command"
    """Reserved for commands to workers, which are not signed yet: so that a task that is signed today
    can never pass for a command."""


def sign(
    ring: KeyRing, body: bytes, *, domain: Domain, namespace: str, encryption: str = NOT_ENCRYPTED
) -> dict[str, str]:
    """Sign a body with the active key.

    Args:
        ring: the keys.
        body: the bytes as they go on the wire.
        domain: what kind of message it is.
        namespace: the namespace that it is for.
        encryption: the header that says how the body is encrypted.

    Returns:
        The headers.

    Raises:
        ConfigurationError: no key is active.
    """
    key = ring.current.signing
    if key is None:
        raise ConfigurationError(
            "the message cannot be signed: this process has no active key with a private half or"
            " secret\n  Make one active in its key file, or let another process enqueue."
        )
    signature = key.sign(_line(key, domain, namespace, encryption) + body)
    text = base64.b64encode(signature).decode()
    return {SIGNATURE: f"{key.algorithm.value}:{text}", KEY: key.id}


def verify(
    ring: KeyRing, body: bytes, headers: Mapping[str, Any], *, domain: Domain, namespace: str
) -> SigningKey:
    """Check the signature of a message.

    Args:
        ring: the keys.
        body: the bytes as they came.
        headers: the headers as they came.
        domain: what kind of message is wanted.
        namespace: the namespace that it must be for.

    Returns:
        The key that signed it.

    Raises:
        SignatureError: it is not signed, or not by a key of the ring, or not these bytes.
    """
    text, key_id = headers.get(SIGNATURE), headers.get(KEY)
    if text is None and key_id is None:
        raise SignatureError("the message is not signed")
    if not isinstance(text, str) or not isinstance(key_id, str) or not ID.fullmatch(key_id):
        raise SignatureError(f"the headers {SIGNATURE} and {KEY} are no signature")
    key = ring.find(key_id)
    if not isinstance(key, SigningKey):
        raise SignatureError(f"the key {key_id!r} is not known here")
    algorithm, _, encoded = text.partition(":")
    if algorithm != key.algorithm.value:
        raise SignatureError(f"the key {key_id!r} is of another algorithm")
    encryption = headers.get(ENCRYPTION, NOT_ENCRYPTED)
    if not isinstance(encryption, str) or encryption.split() != [encryption]:
        raise SignatureError(f"the header {ENCRYPTION} cannot be read")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError(f"the header {SIGNATURE} is no base64") from None
    if not key.verify(_line(key, domain, namespace, encryption) + body, signature):
        raise SignatureError(f"the signature is not that of the key {key_id!r} over this message")
    return key


def _line(key: SigningKey, domain: Domain, namespace: str, encryption: str) -> bytes:
    """Return the line in front of the body. None of its words holds a blank or a line break."""
    words = (domain.value, namespace, key.algorithm.value, key.id, encryption)
    return f"stem-amqp/1 {' '.join(words)}\n".encode()
