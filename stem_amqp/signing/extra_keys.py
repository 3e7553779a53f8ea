"""The keys that need the ``cryptography`` package: Ed25519 and AES-256-GCM."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import override

from stem_amqp.signing.keys import Algorithm, CipherKey, SigningKey, Use

KEY_BYTES = 32
"""The length of an Ed25519 key, public or private, and of an AES-256 key."""
NONCE_BYTES = 12
"""The length of the nonce before the ciphertext: 96 random bits, the size GCM is specified for."""


class Ed25519Key(SigningKey):
    """Ed25519: with only the public key, a worker can verify but not sign.

    Args:
        key_id: its id.
        private: the 32 bytes of the private key; None for a key that only verifies.
        public: the 32 bytes of the public key; None derives it from the private key.
        active: whether new messages are signed with it.
        use: which messages it is trusted for.
    """

    algorithm = Algorithm.ED25519

    __slots__ = ("_private", "_public")

    def __init__(
        self,
        key_id: str,
        *,
        private: bytes | None = None,
        public: bytes | None = None,
        active: bool = False,
        use: Use = Use.ALL,
    ) -> None:
        super().__init__(key_id, active=active, use=use)
        for name, value in (("private", private), ("public", public)):
            if value is not None and len(value) != KEY_BYTES:
                raise ValueError(f"the {name} key has {len(value)} bytes, not {KEY_BYTES}")
        self._private = Ed25519PrivateKey.from_private_bytes(private) if private else None
        if self._private is not None:
            self._public = self._private.public_key()
            if public is not None and public != self._public.public_bytes_raw():
                raise ValueError("the public key is not that of the private key")
        elif public is not None:
            self._public = Ed25519PublicKey.from_public_bytes(public)
        else:
            raise ValueError("there is neither a private nor a public key")

    @classmethod
    def generate(cls, key_id: str) -> Ed25519Key:
        """Return a new key."""
        return cls(key_id, private=os.urandom(KEY_BYTES))

    @property
    def public_bytes(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._public.public_bytes_raw()

    @property
    @override
    def can_sign(self) -> bool:
        """Whether it has the private key."""
        return self._private is not None

    @override
    def sign(self, data: bytes) -> bytes:
        if self._private is None:
            raise ValueError(f"the key {self.id!r} verifies only: it has no private key")
        return self._private.sign(data)

    @override
    def verify(self, data: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class AesGcmKey(CipherKey):
    """AES-256-GCM with a random nonce, which is safe for 2³² messages per key.

    Args:
        key_id: its id.
        secret: 32 random bytes.
        active: whether new messages are encrypted with it.
    """

    algorithm = Algorithm.AES_256_GCM

    __slots__ = ("_cipher",)

    def __init__(self, key_id: str, secret: bytes, *, active: bool = False) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"the secret has {len(secret)} bytes, not {KEY_BYTES}")
        super().__init__(key_id, active=active)
        self._cipher = AESGCM(secret)

    @override
    def encrypt(self, plain: bytes, bound: bytes) -> bytes:
        """Return the nonce, followed by the ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, bound)

    @override
    def decrypt(self, data: bytes, bound: bytes) -> bytes | None:
        nonce, encrypted = data[:NONCE_BYTES], data[NONCE_BYTES:]
        if len(nonce) < NONCE_BYTES:
            return None
        try:
            return self._cipher.decrypt(nonce, encrypted, bound)
        except InvalidTag:
            return None
