r"""Signatures over bodies, and the headers that contain them.

The signed data is the line ``stem-amqp/1 <domain> <namespace> <algorithm> <key id> <encryption>\n``,
with ``-`` if the body is not encrypted, followed by the bytes of the body on the wire.

**Covered**, and so protected against changes: the body, with the task's id, name, arguments, metadata,
expiry and options; the kind of message (a task is not valid as a command); the namespace (a staging
message is not valid in production); the key and its algorithm; the encryption of the body.

**Not covered**, because it changes between publishes while the body does not: the queue, the attempt,
the number of replays, the time before which it must not run, and ``reply_to``. So this signature stays
valid through retries, delays, dead-lettering and replays. The second signature, made at each publish,
covers those: see `publish`. Priority, user headers and error headers are covered by neither.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from stem_amqp.errors import ConfigurationError, SignatureError
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import ID, SigningKey, Use

SIGNATURE = "stem-signature"
"""Header: the algorithm and the signature in base64, ``hmac-sha256:…``."""
KEY = "stem-key"
"""Header: the id of the key."""
ENCRYPTION = "stem-encryption"
"""Header: the algorithm and the id of the encryption key."""
NOT_ENCRYPTED = "-"


class Domain(StrEnum):
    """The kind of a signed message; a signature for one kind is not valid for another."""

    TASK = "task"
    """The body of a task message."""
    PUBLISH = "publish"
    """One publish of a task message that a worker may run."""
    DEAD_LETTER = "dead-letter"
    """One publish of a task message as a dead letter; no worker may run it."""
    COMMAND = "command"
    """A command to workers."""
    SCHEDULE = "schedule"
    """A schedule that is made at run time, in a result backend."""
    RESULT = "result"
    """The record of a task in a result backend, or a reply to its producer."""
    PLAN = "plan"
    """What follows a group of tasks, in a result backend."""
    MEMBER = "member"
    """The end of a member of a group, in a result backend."""


def sign(
    ring: KeyRing, body: bytes, *, domain: Domain, namespace: str, encryption: str = NOT_ENCRYPTED
) -> dict[str, str]:
    """Sign a body with the active key.

    Args:
        ring: the keys.
        body: the bytes on the wire.
        domain: the kind of message.
        namespace: the namespace of the message.
        encryption: the value of the header ``stem-encryption``.

    Returns:
        The headers.

    Raises:
        ConfigurationError: no key is active.
    """
    key = ring.current.signing
    if key is None:
        raise ConfigurationError(
            "the message cannot be signed: this process has no active key with a private key or"
            " secret\n  Activate one in its key file, or enqueue from another process."
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
        body: the received bytes.
        headers: the received headers.
        domain: the expected kind of message.
        namespace: the expected namespace.

    Returns:
        The key that signed it.

    Raises:
        SignatureError: it is not signed, its key is not in the ring, or the signature is not valid.
    """
    text, key_id = headers.get(SIGNATURE), headers.get(KEY)
    if text is None and key_id is None:
        raise SignatureError("the message is not signed")
    if not isinstance(text, str) or not isinstance(key_id, str) or not ID.fullmatch(key_id):
        raise SignatureError(f"the headers {SIGNATURE} and {KEY} are not a valid signature")
    key = ring.find(key_id)
    if not isinstance(key, SigningKey):
        raise SignatureError(f"the key {key_id!r} is unknown to this process")
    if key.use is not Use.ALL:
        raise SignatureError(f"the key {key_id!r} may sign publishes and results only")
    algorithm, _, encoded = text.partition(":")
    if algorithm != key.algorithm.value:
        raise SignatureError(f"the key {key_id!r} has another algorithm")
    encryption = headers.get(ENCRYPTION, NOT_ENCRYPTED)
    if not isinstance(encryption, str) or encryption.split() != [encryption]:
        raise SignatureError(f"the header {ENCRYPTION} cannot be read")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError(f"the header {SIGNATURE} is not valid base64") from None
    if not key.verify(_line(key, domain, namespace, encryption) + body, signature):
        raise SignatureError(f"the signature by the key {key_id!r} is not valid for this message")
    return key


def _line(key: SigningKey, domain: Domain, namespace: str, encryption: str) -> bytes:
    """Return the line before the body. None of its words contains a space or a line break."""
    words = (domain.value, namespace, key.algorithm.value, key.id, encryption)
    return f"stem-amqp/1 {' '.join(words)}\n".encode()
