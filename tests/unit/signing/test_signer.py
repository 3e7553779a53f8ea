"""Signatures: what they cover, and what they refuse."""

import base64
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stem_amqp.errors import ConfigurationError, SignatureError
from stem_amqp.signing.extra_keys import AesGcmKey, Ed25519Key
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import HmacKey
from stem_amqp.signing.signer import Domain, sign, verify

TASK = {"domain": Domain.TASK, "namespace": "shop"}
BODY = b'{"v":1,"task":"orders.sync"}'
several = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@several
@given(body=st.binary(max_size=300))
def test_any_body_verifies_as_it_was_signed(signing_key, body):
    """This holds for any bytes."""
    ring = KeyRing.of(signing_key)
    assert verify(ring, body, sign(ring, body, **TASK), **TASK) is signing_key


@several
@given(body=st.binary(min_size=1, max_size=300), data=st.data())
def test_one_flipped_bit_of_the_body_is_refused(signing_key, body, data):
    """This holds for every bit."""
    ring = KeyRing.of(signing_key)
    headers = sign(ring, body, **TASK)
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureError, match="by the key 'k1' is not valid"):
        verify(ring, bytes(changed), headers, **TASK)


@several
@given(data=st.data())
def test_one_flipped_bit_of_the_signature_is_refused(signing_key, data):
    """Every part of the signature is verified."""
    ring = KeyRing.of(signing_key)
    headers = sign(ring, BODY, **TASK)
    algorithm, _, encoded = headers["stem-signature"].partition(":")
    changed = bytearray(base64.b64decode(encoded))
    bit = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    headers["stem-signature"] = f"{algorithm}:{base64.b64encode(changed).decode()}"
    with pytest.raises(SignatureError):
        verify(ring, BODY, headers, **TASK)


@several
@given(
    headers=st.dictionaries(
        st.sampled_from(["stem-signature", "stem-key", "stem-encryption"]),
        st.one_of(st.text(max_size=40), st.binary(max_size=40), st.integers(), st.none()),
    )
)
def test_no_headers_make_it_fail_otherwise(signing_key, headers):
    """Publishers can write any headers: the only outcome of malformed ones is a refusal."""
    with pytest.raises(SignatureError):
        verify(KeyRing.of(signing_key), BODY, headers, **TASK)


@pytest.mark.parametrize(
    "other",
    [
        {"domain": Domain.COMMAND, "namespace": "shop"},
        {"domain": Domain.TASK, "namespace": "shop.staging"},
    ],
    ids=["domain", "namespace"],
)
def test_a_signature_is_for_one_kind_of_message_in_one_namespace(signing_key, other):
    """A task is not accepted as a command, nor a task of staging in production."""
    ring = KeyRing.of(signing_key)
    with pytest.raises(SignatureError):
        verify(ring, BODY, sign(ring, BODY, **other), **TASK)


def test_how_the_body_is_encrypted_cannot_be_changed(signing_key):
    """The header can be neither removed, added, nor padded with blanks."""
    ring = KeyRing.of(signing_key)
    encrypted = sign(ring, BODY, **TASK, encryption="aes-256-gcm:c1")
    for wrong in (
        encrypted,
        encrypted | {"stem-encryption": "aes-256-gcm:c2"},
        sign(ring, BODY, **TASK) | {"stem-encryption": "aes-256-gcm:c1"},
        encrypted | {"stem-encryption": "aes-256-gcm:c1\n"},
    ):
        with pytest.raises(SignatureError):
            verify(ring, BODY, wrong, **TASK)
    verify(ring, BODY, encrypted | {"stem-encryption": "aes-256-gcm:c1"}, **TASK)


def test_the_other_headers_may_change(signing_key):
    """The headers that a retry or a dead letter adds are not signed."""
    ring = KeyRing.of(signing_key)
    headers = sign(ring, BODY, **TASK) | {"stem-attempt": 3, "stem-error": "x"}
    verify(ring, BODY, headers, **TASK)


def test_an_old_key_still_verifies_and_a_removed_one_does_not(signing_key):
    """Several keys verify, and one signs."""
    headers = sign(KeyRing.of(signing_key), BODY, **TASK)
    new = HmacKey("k2", os.urandom(32), active=True)
    signing_key.active = False
    assert sign(KeyRing.of(signing_key, new), BODY, **TASK)["stem-key"] == "k2"
    assert verify(KeyRing.of(new, signing_key), BODY, headers, **TASK).id == "k1"
    with pytest.raises(SignatureError, match="'k1' is unknown to this process"):
        verify(KeyRing.of(new), BODY, headers, **TASK)


def test_a_key_is_used_with_its_own_algorithm_only():
    """A public key must not be used as an HMAC secret."""
    public = os.urandom(32)
    ed25519 = Ed25519Key("k1", private=public)
    forged = HmacKey("k1", ed25519.public_bytes, active=True)
    headers = sign(KeyRing.of(forged), BODY, **TASK)
    ring = KeyRing.of(ed25519)
    with pytest.raises(SignatureError, match="another algorithm"):
        verify(ring, BODY, headers, **TASK)
    headers["stem-signature"] = headers["stem-signature"].replace("hmac-sha256", "ed25519")
    with pytest.raises(SignatureError, match="is not valid"):
        verify(ring, BODY, headers, **TASK)


def test_a_key_that_encrypts_signs_nothing():
    """Its id in the header counts as unknown."""
    cipher = AesGcmKey("k1", os.urandom(32), active=True)
    headers = sign(KeyRing.of(HmacKey("k1", os.urandom(32), active=True)), BODY, **TASK)
    with pytest.raises(SignatureError, match="unknown to this process"):
        verify(KeyRing.of(cipher), BODY, headers, **TASK)


def test_a_public_key_verifies_and_cannot_sign():
    """Workers have the public half."""
    private = Ed25519Key("k1", private=os.urandom(32), active=True)
    public = Ed25519Key("k1", public=private.public_bytes)
    headers = sign(KeyRing.of(private), BODY, **TASK)
    assert verify(KeyRing.of(public), BODY, headers, **TASK) is public
    assert not public.can_sign
    with pytest.raises(ConfigurationError, match="no active key"):
        sign(KeyRing.of(public), BODY, **TASK)
    with pytest.raises(ValueError, match="verifies only"):
        public.sign(b"")
