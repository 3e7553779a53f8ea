"""The signature of one publish, and the memory of accepted nonces."""

import hashlib
import hmac
import os
from base64 import b64decode
from dataclasses import replace

import pytest

from stem_amqp.errors import ConfigurationError, SignatureError
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, REPLAYS, SINCE
from stem_amqp.signing.extra_keys import Ed25519Key
from stem_amqp.signing.keyring import KeyRing, KeySet
from stem_amqp.signing.keys import HmacKey, Use
from stem_amqp.signing.memory import NonceMemory, Taken
from stem_amqp.signing.publish import Publish, derived_nonce, sign_publish, verify_publish
from stem_amqp.signing.signer import Domain, sign, verify

SECRET = b"s" * 32
KEY = HmacKey("k1", SECRET, active=True)
RING = KeyRing.of(KEY)
HEADERS = {
    ATTEMPT: 1,
    REPLAYS: 2,
    NOT_BEFORE: "2026-01-01T00:00:00Z",
    SINCE: "2025-01-01T00:00:00Z",
}
PUBLISH = Publish(
    queue="orders",
    body=b"{}",
    type="orders.sync",
    correlation_id="0198",
    reply_to="stem.reply.a",
    headers=HEADERS,
)


def signed(publish=PUBLISH, key=KEY, **more):
    """Return a signed publish."""
    given = {"domain": Domain.PUBLISH, "namespace": "stem", "at": 1000.0} | more
    return sign_publish(key, publish, **given)


def check(header, publish=PUBLISH, ring=RING, **more):
    """Return the result of verifying a publish."""
    return verify_publish(
        ring, header, publish, **({"domain": Domain.PUBLISH, "namespace": "stem"} | more)
    )


def test_a_publish_is_what_was_signed():
    """The result has time, nonce, queue and key."""
    stamp = check(signed(nonce="n1"))
    assert (stamp.key_id, stamp.at, stamp.nonce, stamp.queue) == ("k1", 1000.0, "n1", "orders")


@pytest.mark.parametrize(
    "change",
    [
        {"queue": "emails"},
        {"body": b"[]"},
        {"type": "orders.drop"},
        {"correlation_id": "0199"},
        {"reply_to": None},
        {"reply_to": "stem.reply.b"},
        *({"headers": {k: v for k, v in HEADERS.items() if k != name}} for name in HEADERS),
        {"headers": HEADERS | {ATTEMPT: 3}},
        # moving text from one field to the next changes the content
        {"type": "orders.sync0198", "correlation_id": ""},
    ],
    ids=str,
)
def test_whatever_is_changed_is_found_out(change):
    """Each field is bound, and so is its end."""
    with pytest.raises(SignatureError):
        check(signed(), replace(PUBLISH, **change))


@pytest.mark.parametrize("domain", [one for one in Domain if one is not Domain.PUBLISH])
def test_a_publish_is_nothing_else(domain):
    """A dead letter is not accepted as a task, nor a task as a dead letter."""
    with pytest.raises(SignatureError):
        check(signed(domain=domain))


def test_the_namespace_is_bound():
    """A message of staging is not accepted in production."""
    with pytest.raises(SignatureError):
        check(signed(namespace="staging"))


@pytest.mark.parametrize(
    "header",
    [
        None,
        7,
        "",
        "k1",
        "x" * 10_000,
        "k1 hmac-sha256:AAAA 1000 n",
        "k1 hmac-sha256:AAAA now n orders",
        "k1 hmac-sha256:*** 1000 n orders",
        "k2 hmac-sha256:AAAA 1000 n orders",
        "k1 ed25519:AAAA 1000 n orders",
        "k\n1 hmac-sha256:AAAA 1000 n orders",
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_signature_is_refused(header):
    """Any malformed text raises a SignatureError and nothing else."""
    with pytest.raises(SignatureError):
        check(header)


def test_the_documented_form_is_the_signed_one():
    """A producer in another language can sign by the documentation of the wire format."""
    key_id, signature, at, nonce, queue = signed(nonce="n1").split(" ")
    values = [b"orders.sync", b"0198", b"stem.reply.a", b"1", b"2"]
    values += [HEADERS[NOT_BEFORE].encode(), HEADERS[SINCE].encode()]
    values.append(hashlib.sha256(b"{}").hexdigest().encode())
    line = f"stem-amqp/1 publish stem hmac-sha256 {key_id} {at} {nonce} {queue}\n".encode()
    data = line + b"".join(b"%d:%s," % (len(value), value) for value in values)
    expected = hmac.digest(SECRET, data, "sha256")
    assert signature.partition(":")[0] == "hmac-sha256"
    assert b64decode(signature.partition(":")[2]) == expected


def test_a_key_for_publishes_signs_no_task():
    """A stolen key of a worker cannot create tasks."""
    private = os.urandom(32)
    own = Ed25519Key("w1", private=private, active=True, use=Use.PUBLISHES)
    ring = KeyRing.of(Ed25519Key("w1", public=own.public_bytes, use=Use.PUBLISHES))
    assert check(signed(key=own), ring=ring).key_id == "w1"
    forged = sign(
        KeyRing.of(Ed25519Key("w1", private=private, active=True)),
        b"{}",
        domain=Domain.TASK,
        namespace="stem",
    )
    with pytest.raises(SignatureError, match="publishes and results only"):
        verify(ring, b"{}", forged, domain=Domain.TASK, namespace="stem")


def test_one_key_of_each_use_is_active():
    """A process may have one to enqueue and one to publish."""
    own = HmacKey("w1", SECRET, active=True, use=Use.PUBLISHES)
    keys = KeySet([KEY, own])
    assert (keys.signing, keys.publishing) == (KEY, own)
    assert KeySet([KEY]).publishing is KEY
    assert KeySet([own]).signing is None
    with pytest.raises(ConfigurationError, match="both active"):
        KeySet([own, HmacKey("w2", SECRET, active=True, use=Use.PUBLISHES)])


def test_a_nonce_that_follows_is_always_the_same():
    """A dead letter that is replayed twice is therefore one publish."""
    assert derived_nonce("a") == derived_nonce("a") != derived_nonce("b")


def test_the_memory_of_nonces():
    """A nonce is new, running or done; a requeued one is new again."""
    memory = NonceMemory()
    assert [memory.take("a"), memory.take("a")] == [Taken.NEW, Taken.RUNNING]
    memory.end("a", done=False)
    assert memory.take("a") is Taken.NEW
    memory.end("a", done=True)
    memory.end("a", done=False)
    assert memory.take("a") is Taken.DONE


def test_the_memory_of_nonces_is_bounded():
    """The oldest are dropped first."""
    memory = NonceMemory(capacity=3)
    for nonce in "abcd":
        memory.take(nonce)
    assert len(memory) == 3
    assert memory.take("a") is Taken.NEW
