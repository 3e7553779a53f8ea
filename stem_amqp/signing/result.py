r"""The signature of a task's final record, stored in the record's metadata.

The signed data is the line ``stem-amqp/1 result <namespace> <algorithm> <key id>\n``, followed by these
fields, each as ``<bytes>:<value>,``: the task's id and name, its state, attempt, replays, reason, error,
and the SHA-256 of the result's JSON in hexadecimal digits. A missing field is empty.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from stem_amqp.errors import SignatureError
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import ID, SigningKey
from stem_amqp.signing.publish import lengths
from stem_amqp.signing.signer import Domain

SIGNATURE = "stem-signature"
"""The key in the record's metadata."""
_WORDS = 2
_LONGEST = 512


def sign_result(
    key: SigningKey,
    values: tuple[str, ...],
    result: bytes | None,
    ns: str,
    *,
    domain: Domain = Domain.RESULT,
) -> str:
    """Return the signature of a final record.

    Args:
        key: the signing key.
        values: the signed fields other than the result.
        result: the JSON of the result, if there is one.
        ns: the namespace.
        domain: the kind of record.
    """
    signed = _signed(key, values, result, ns, domain)
    signature = base64.b64encode(key.sign(signed)).decode()
    return f"{key.id} {key.algorithm.value}:{signature}"


def verify_result(
    ring: KeyRing,
    text: object,
    values: tuple[str, ...],
    result: bytes | None,
    ns: str,
    *,
    domain: Domain = Domain.RESULT,
) -> None:
    """Check the signature of a final record.

    Args:
        ring: the keys.
        text: the stored signature.
        values: the signed fields other than the result.
        result: the JSON of the result, if there is one.
        ns: the namespace.
        domain: the kind of record.

    Raises:
        SignatureError: the signature is not valid for this record.
    """
    words = text.split(" ") if isinstance(text, str) and len(text) <= _LONGEST else []
    if len(words) != _WORDS or not ID.fullmatch(words[0]):
        raise SignatureError("its signature cannot be read")
    algorithm, _, encoded = words[1].partition(":")
    key = ring.find(words[0])
    if not isinstance(key, SigningKey) or key.algorithm.value != algorithm:
        raise SignatureError(f"the key {words[0]!r} that signed it is unknown to this process")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError("its signature cannot be read") from None
    if not key.verify(_signed(key, values, result, ns, domain), signature):
        raise SignatureError(f"its signature by the key {key.id!r} is not valid")


def _signed(
    key: SigningKey, values: tuple[str, ...], result: bytes | None, ns: str, domain: Domain
) -> bytes:
    line = f"stem-amqp/1 {domain.value} {ns} {key.algorithm.value} {key.id}\n"
    digest = "" if result is None else hashlib.sha256(result).hexdigest()
    return line.encode() + lengths((*values, digest))
