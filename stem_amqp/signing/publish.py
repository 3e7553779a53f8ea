r"""The second signature of a message, over one publish; the first one is over the body.

The body and its signature never change, so they do not cover the queue of a message and its number of
attempts. Each publisher, the producer or a worker that retries the task, signs these too, in the
header `PUBLISH`: ``<key id> <algorithm>:<base64> <time> <nonce> <queue>``.

The signed data is the line ``stem-amqp/1 <domain> <namespace> <algorithm> <key id> <time> <nonce>
<queue>\n``, followed by these fields, each as ``<bytes>:<value>,``: AMQP ``type``, ``correlation_id``,
``reply_to``, ``stem-attempt``, ``stem-replays``, ``stem-not-before``, ``stem-since``, and the SHA-256 of
the body in hexadecimal digits. A missing field is empty; a missing number is 0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.errors import SignatureError
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, REPLAYS, SINCE, header_int
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import ID, SigningKey, Use
from stem_amqp.signing.signer import Domain

PUBLISH = "stem-publish"
"""Header: the signature of this publish."""
MARK = "publish_signed"
"""Field of the body: every publish of this message is signed, so a missing signature is detected."""
_WORDS = 5
_NONCE_BYTES = 16
_LONGEST = 1024
"""Maximum characters of the header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Publish:
    """The signed parts of a publish.

    Args:
        queue: the logical queue; ``-`` if there is none.
        body: the bytes of the body on the wire.
        type: AMQP ``type``.
        correlation_id: AMQP ``correlation_id``.
        reply_to: AMQP ``reply_to``.
        headers: all headers; some of them are signed.
    """

    queue: str
    body: bytes
    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """The contents of the header `PUBLISH`.

    Args:
        key_id: the key that signed it.
        at: when it was published, seconds since the epoch.
        nonce: unique for each publish.
        queue: the logical queue.
    """

    key_id: str
    at: float
    nonce: str
    queue: str


def derived_nonce(nonce: str) -> str:
    """Return the nonce of the publish that may follow another one; it is always the same."""
    return base64.urlsafe_b64encode(hashlib.sha256(nonce.encode()).digest()[:_NONCE_BYTES]).decode()


def sign_publish(
    key: SigningKey,
    publish: Publish,
    *,
    domain: Domain,
    namespace: str,
    at: float,
    nonce: str | None = None,
) -> str:
    """Return the header that signs a publish.

    Args:
        key: the signing key.
        publish: the publish.
        domain: the kind of publish.
        namespace: the namespace of the message.
        at: seconds since the epoch.
        nonce: None generates one.
    """
    stamp = Stamp(
        key_id=key.id,
        at=round(at * 1000) / 1000,
        nonce=nonce or secrets.token_urlsafe(_NONCE_BYTES),
        queue=publish.queue,
    )
    signature = base64.b64encode(key.sign(_signed(key, publish, stamp, domain, namespace)))
    words = f"{_millis(stamp)} {stamp.nonce} {stamp.queue}"
    return f"{key.id} {key.algorithm.value}:{signature.decode()} {words}"


def verify_publish(
    ring: KeyRing, header: object, publish: Publish, *, domain: Domain, namespace: str
) -> Stamp:
    """Check the signature of a publish.

    Args:
        ring: the keys.
        header: the value of `PUBLISH`.
        publish: the received, unverified publish; its queue is the expected one.
        domain: the expected kind of publish.
        namespace: the expected namespace.

    Raises:
        SignatureError: the signature is not valid for this publish.
    """
    stamp, algorithm, signature = _read(header)
    key = ring.find(stamp.key_id)
    if not isinstance(key, SigningKey) or key.algorithm.value != algorithm:
        raise SignatureError(f"the key {stamp.key_id!r} of the publish is unknown to this process")
    if domain is Domain.COMMAND and key.use is not Use.ALL:
        raise SignatureError(f"the key {key.id!r} may sign publishes and results only")
    if stamp.queue != publish.queue:
        raise SignatureError(
            f"the message was published for the queue {stamp.queue!r}, not for {publish.queue!r}"
        )
    if not key.verify(_signed(key, publish, stamp, domain, namespace), signature):
        raise SignatureError(
            f"the signature of the publish by the key {key.id!r} is not valid: attempt, replays, times,"
            " reply_to, task, namespace or body were changed"
        )
    return stamp


def lengths(values: Iterable[str]) -> bytes:
    """Concatenate strings, each prefixed with its length in bytes."""
    encoded = [value.encode(errors="backslashreplace") for value in values]
    return b"".join(b"%d:%b," % (len(value), value) for value in encoded)


def queue_of(header: object) -> str | None:
    """Return the unverified queue in a header; None if the header cannot be parsed."""
    try:
        return _read(header)[0].queue
    except SignatureError:
        return None


def nonce_of(header: object) -> str | None:
    """Return the unverified nonce in a header; None if the header cannot be parsed."""
    try:
        return _read(header)[0].nonce
    except SignatureError:
        return None


def _read(header: object) -> tuple[Stamp, str, bytes]:
    words = header.split(" ") if isinstance(header, str) and len(header) <= _LONGEST else []
    try:
        key_id, text, millis, nonce, queue = words
        algorithm, _, encoded = text.partition(":")
        signature = base64.b64decode(encoded, validate=True)
        at = int(millis) / 1000
    except (binascii.Error, ValueError):
        raise SignatureError(f"the header {PUBLISH} is not a valid signature") from None
    if not ID.fullmatch(key_id):
        raise SignatureError(f"the header {PUBLISH} has no valid key id")
    return Stamp(key_id=key_id, at=at, nonce=nonce, queue=queue), algorithm, signature


def _millis(stamp: Stamp) -> int:
    return round(stamp.at * 1000)


def _signed(
    key: SigningKey, publish: Publish, stamp: Stamp, domain: Domain, namespace: str
) -> bytes:
    headers = publish.headers
    line = (
        f"stem-amqp/1 {domain.value} {namespace} {key.algorithm.value} {key.id}"
        f" {_millis(stamp)} {stamp.nonce} {stamp.queue}\n"
    )
    fields = (
        publish.type or "",
        publish.correlation_id or "",
        publish.reply_to or "",
        str(header_int(headers, ATTEMPT)),
        str(header_int(headers, REPLAYS)),
        str(headers.get(NOT_BEFORE) or ""),
        str(headers.get(SINCE) or ""),
        hashlib.sha256(publish.body).hexdigest(),
    )
    return line.encode() + lengths(fields)
