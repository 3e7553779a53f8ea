"""Keys for the tests."""

import os

import pytest

from stem_amqp.signing.extra_keys import AesGcmKey, Ed25519Key
from stem_amqp.signing.keys import HmacKey


@pytest.fixture(params=["hmac-sha256", "ed25519"])
def signing_key(request):
    """Return an active key of each algorithm that signs."""
    if request.param == "hmac-sha256":
        return HmacKey("k1", os.urandom(32), active=True)
    return Ed25519Key("k1", private=os.urandom(32), active=True)


@pytest.fixture
def cipher_key():
    """Return an active key that encrypts."""
    return AesGcmKey("c1", os.urandom(32), active=True)
