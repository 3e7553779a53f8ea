"""Signed plans of groups, and signed ends of their members, as bytes that any store keeps.

Each is a line and then the signed bytes. A plan lets workers enqueue tasks, so it is sealed as the body
of a task is: ``stem-plan {"stem-signature": …, "stem-key": …}``, with the group's id in the signed bytes.
The end of a member is ``stem-member <key id> <algorithm>:<base64> <+ or ->``, with ``-`` if there is no
value; its signature covers the group, the index, the task, the state, the error and the value.
"""

from __future__ import annotations

import base64

import orjson

from stem_amqp.errors import SignatureError
from stem_amqp.settings import Signatures
from stem_amqp.signing.result import sign_result, verify_result
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain

_PLAN = b"stem-plan "
_SEALED = b'{"sealed":'
_MEMBER = b"stem-member "
_WORDS = 3


def seal_plan(seal: Seal, group_id: str, plan: bytes) -> bytes:
    """Return a plan with its signature, encrypted if bodies are; an empty plan stays empty.

    Args:
        seal: the keys.
        group_id: the group.
        plan: what follows the group.

    Raises:
        ConfigurationError: a signature or encryption is configured, and no key for it is active.
    """
    if not plan:
        return plan
    body, headers = seal.close(_bound(group_id) + plan, {}, domain=Domain.PLAN)
    return b"%b%b\n%b" % (_PLAN, orjson.dumps(headers), body)


def open_plan(seal: Seal, group_id: str, stored: bytes) -> bytes:
    """Return the plan of a group.

    Args:
        seal: the keys.
        group_id: the group.
        stored: the stored bytes.

    Raises:
        SignatureError: it is not signed although that is required, or not for this group.
        DecodeError: it cannot be decrypted.
    """
    if not stored:
        return stored
    headers, body, bound = {}, stored, b""
    if stored.startswith(_PLAN):
        line, _, body = stored.removeprefix(_PLAN).partition(b"\n")
        bound = _bound(group_id)
        try:
            headers = orjson.loads(line)
        except ValueError:
            raise SignatureError("its signature cannot be read") from None
        if not isinstance(headers, dict):
            raise SignatureError("its signature cannot be read")
    plan = seal.open(body, headers, domain=Domain.PLAN)
    if not plan.startswith(bound):
        raise SignatureError("it belongs to another group")
    return _once_sealed(seal, plan.removeprefix(bound))


def _once_sealed(seal: Seal, plan: bytes) -> bytes:
    """Return a plan; earlier versions have sealed it twice, at first as the body of a task."""
    if not plan.startswith(_SEALED):
        return plan
    try:
        data = orjson.loads(plan)
        body, headers = base64.b64decode(data["sealed"]), dict(data["headers"])
    except (ValueError, TypeError, KeyError):
        raise SignatureError("its signature cannot be read") from None
    return seal.open(body, headers)


def sign_value(seal: Seal, values: tuple[str, ...], value: bytes | None) -> bytes | None:
    """Return the value of a member with the signature of its end, if this process signs results.

    Args:
        seal: the keys.
        values: the signed fields other than the value.
        value: the value.
    """
    key = seal.ring.current.publishing
    if key is None or seal.level is Signatures.BODIES:
        return value
    text = sign_result(key, values, value, seal.namespace, domain=Domain.MEMBER)
    mark = b"-" if value is None else b"+"
    return b"%b%b %b\n%b" % (_MEMBER, text.encode(), mark, value or b"")


def open_value(seal: Seal, values: tuple[str, ...], stored: bytes | None) -> bytes | None:
    """Return the value of a member, after its signature is checked.

    Args:
        seal: the keys.
        values: the signed fields other than the value.
        stored: the stored bytes.

    Raises:
        SignatureError: the signature is missing although it is required, or not valid.
    """
    text, value = _parted(stored)
    if seal.level is Signatures.BODIES:
        return value
    if text is None:
        if seal.signs_all:
            raise SignatureError("it is not signed")
        return value
    verify_result(seal.ring, text, values, value, seal.namespace, domain=Domain.MEMBER)
    return value


def _parted(stored: bytes | None) -> tuple[str | None, bytes | None]:
    """Return the signature and the value; the signature is None if there is none."""
    if stored is None or not stored.startswith(_MEMBER):
        return None, stored
    line, _, value = stored.removeprefix(_MEMBER).partition(b"\n")
    words = line.decode("ascii", "replace").split(" ")
    if len(words) != _WORDS:
        return "", value
    return f"{words[0]} {words[1]}", value if words[2] == "+" else None


def _bound(group_id: str) -> bytes:
    return group_id.encode("utf-8", "replace") + b"\n"
