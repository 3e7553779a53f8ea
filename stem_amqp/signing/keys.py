"""One key, and what it can do. No key shows its secret: neither in ``repr`` nor in an error."""

from __future__ import annotations

import hmac
import re
from abc import ABC, abstractmethod
from enum import StrEnum

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids of keys. They stand in headers and logs, and in what is signed: no blank, no line break."""
HMAC_SECRET_BYTES = 32
"""The least length of an HMAC-SHA256 secret: that of its result."""


class Algorithm(StrEnum):
    """What a key is for: the first two sign, the last one encrypts."""

    HMAC_SHA256 = "hmac-sha256"
    ED25519 = "ed25519"
    AES_256_GCM = "aes-256-gcm"


class Key(ABC):
    """A key of the ring.

    Args:
        key_id: its id, which the messages made with it name.
        active: whether new messages are made with it; the others only read.
    """

    algorithm: Algorithm

    __slots__ = ("active", "id")

    def __init__(self, key_id: str, *, active: bool = False) -> None:
        self.id = key_id
        self.active = active

    @property
    @abstractmethod
    def abilities(self) -> str:
        """What it can do, in words for people."""

    def __repr__(self) -> str:
        active = ", active" if self.active else ""
        return f"<{type(self).__name__} {self.id!r}: {self.abilities}{active}>"

    def __reduce__(self) -> str:
        raise TypeError(f"{self!r} is not to be copied or serialized")


class SigningKey(Key):
    """A key that verifies signatures, and makes them if it has the secret half."""

    __slots__ = ()

    @property
    @abstractmethod
    def can_sign(self) -> bool:
        """Whether it can make signatures."""

    @property
    def abilities(self) -> str:
        """What it can do, in words for people."""
        return "signs and verifies" if self.can_sign else "verifies only"

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Return the signature of some bytes."""

    @abstractmethod
    def verify(self, data: bytes, signature: bytes) -> bool:
        """Say whether a signature is that of some bytes, in a time that does not tell why not."""


class CipherKey(Key):
    """A key that encrypts and decrypts."""

    __slots__ = ()

    @property
    def abilities(self) -> str:
        """What it can do, in words for people."""
        return "encrypts and decrypts"

    @abstractmethod
    def encrypt(self, plain: bytes, bound: bytes) -> bytes:
        """Encrypt.

        Args:
            plain: the bytes to hide.
            bound: bytes that are not hidden; decrypting works only with the same.
        """

    @abstractmethod
    def decrypt(self, data: bytes, bound: bytes) -> bytes | None:
        """Undo `encrypt`; None if the bytes were not made with this key, or are not the same."""


class HmacKey(SigningKey):
    """HMAC-SHA256: who can verify can also sign.

    Args:
        key_id: its id.
        secret: 32 random bytes or more.
        active: whether new messages are signed with it.
    """

    algorithm = Algorithm.HMAC_SHA256

    __slots__ = ("_secret",)

    def __init__(self, key_id: str, secret: bytes, *, active: bool = False) -> None:
        if len(secret) < HMAC_SECRET_BYTES:
            raise ValueError(
                f"the secret has {len(secret)} bytes, at least {HMAC_SECRET_BYTES} are needed"
            )
        super().__init__(key_id, active=active)
        self._secret = secret

    @property
    def can_sign(self) -> bool:
        """Whether it can make signatures: always."""
        return True

    def sign(self, data: bytes) -> bytes:
        """Return the signature of some bytes."""
        return hmac.digest(self._secret, data, "sha256")

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Say whether a signature is that of some bytes, in constant time."""
        return hmac.compare_digest(self.sign(data), signature)
