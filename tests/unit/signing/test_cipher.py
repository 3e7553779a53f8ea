"""Encryption and decryption, and what cannot be decrypted."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stem_amqp.errors import DecodeError
from stem_amqp.signing.cipher import decrypt, encrypt
from stem_amqp.signing.extra_keys import AesGcmKey
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import HmacKey
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain

TASK = {"domain": Domain.TASK, "namespace": "shop"}
several = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@several
@given(body=st.binary(max_size=300))
def test_any_body_comes_back(cipher_key, body):
    """This holds for any bytes, and the ciphertext differs each time."""
    first, header = encrypt(cipher_key, body, **TASK)
    assert decrypt(KeyRing.of(cipher_key), first, {"stem-encryption": header}, **TASK) == body
    assert encrypt(cipher_key, body, **TASK)[0] != first


@several
@given(data=st.binary(max_size=64))
def test_nonsense_is_a_decode_error(cipher_key, data):
    """This holds for bytes of any length."""
    with pytest.raises(DecodeError, match="cannot be decrypted"):
        decrypt(KeyRing.of(cipher_key), data, {"stem-encryption": "aes-256-gcm:c1"}, **TASK)


@pytest.mark.parametrize(
    "other",
    [
        {"domain": Domain.COMMAND, "namespace": "shop"},
        {"domain": Domain.TASK, "namespace": "other"},
    ],
)
def test_it_is_bound_to_its_kind_and_namespace(cipher_key, other):
    """The signature has the same binding."""
    body, header = encrypt(cipher_key, b"x", **other)
    with pytest.raises(DecodeError):
        decrypt(KeyRing.of(cipher_key), body, {"stem-encryption": header}, **TASK)


@pytest.mark.parametrize(
    "header", ["aes-256-gcm:c2", "rot13:c1", "aes-256-gcm", 7, "aes-256-gcm:k1"]
)
def test_an_unknown_key_is_named(cipher_key, header):
    """The dead letter names the missing key."""
    ring = KeyRing.of(cipher_key, HmacKey("k1", os.urandom(32)))
    with pytest.raises(DecodeError, match=r"is encrypted \(.*this process has no such key"):
        decrypt(ring, b"x" * 40, {"stem-encryption": header}, **TASK)


def test_a_body_is_encrypted_first_and_signed_then(cipher_key, signing_key):
    """The signature is verified before any byte is decrypted."""
    ring = KeyRing.of(cipher_key, signing_key)
    seal = Seal(ring=ring, namespace="shop", required=True, encrypts=True)
    body, headers = seal.close(b"secret", {"mine": 1})
    assert b"secret" not in body
    assert headers.keys() == {"mine", "stem-encryption", "stem-signature", "stem-key"}
    assert seal.open(body, headers) == b"secret"
    blind = Seal(ring=KeyRing.of(signing_key), namespace="shop", required=True)
    report = blind.inspect(body, headers)
    assert report.body == body
    assert report.signature == "valid, by k1"
    assert report.encryption == "aes-256-gcm:c1"
    assert report.problem is not None
    with pytest.raises(DecodeError):
        blind.open(body, headers)


def test_a_cipher_key_has_its_length():
    """No key is extended or cut."""
    with pytest.raises(ValueError, match="31 bytes, not 32"):
        AesGcmKey("c1", os.urandom(31))
