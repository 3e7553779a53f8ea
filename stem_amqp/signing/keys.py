"""Keys for signing and encryption. No key shows its secret in its ``repr`` or in an error."""

from __future__ import annotations

import hmac
import re
from abc import ABC, abstractmethod
from enum import StrEnum

from typing_extensions import override

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids of keys. They are part of headers, log lines and signed data: no space, no line break."""
HMAC_SECRET_BYTES = 32
"""The minimum length of an HMAC-SHA256 secret: the length of the digest."""


class Algorithm(StrEnum):
    """The algorithm of a key: the first two sign, the last one encrypts."""

    HMAC_SHA256 = "hmac-sha256"
    ED25519 = "ed25519"
    AES_256_GCM = "aes-256-gcm"


class Use(StrEnum):
    """Which messages a signing key is trusted for."""

    ALL = "all"
    """Tasks, commands, publishes and results."""
    PUBLISHES = "publishes"
    """Publishes and results only: for a worker that must not be able to create tasks."""


class Key(ABC):
    """A key of the ring.

    Args:
        key_id: its id, which is in the headers of its messages.
        active: whether it is used for new messages; other keys only verify and decrypt.
    """

    algorithm: Algorithm

    __slots__ = ("active", "id")

    def __init__(self, key_id: str, *, active: bool = False) -> None:
        self.id = key_id
        self.active = active

    @property
    @abstractmethod
    def abilities(self) -> str:
        """What the key can do, as text for messages."""

    def __repr__(self) -> str:
        active = ", active" if self.active else ""
        return f"<{type(self).__name__} {self.id!r}: {self.abilities}{active}>"

    def __reduce__(self) -> str:
        raise TypeError(f"{self!r} must not be copied or serialized")


class SigningKey(Key):
    """A key that verifies signatures, and signs if it has the private key.

    Attributes:
        use: which messages it is trusted for.
    """

    __slots__ = ("use",)

    def __init__(self, key_id: str, *, active: bool = False, use: Use = Use.ALL) -> None:
        super().__init__(key_id, active=active)
        self.use = use

    @property
    @abstractmethod
    def can_sign(self) -> bool:
        """Whether it can sign."""

    @property
    @override
    def abilities(self) -> str:
        what = "signs and verifies" if self.can_sign else "verifies only"
        return what if self.use is Use.ALL else f"{what}, {self.use.value}"

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Return the signature of some bytes.

        Raises:
            ValueError: the key cannot make signatures.
        """

    @abstractmethod
    def verify(self, data: bytes, signature: bytes) -> bool:
        """Return whether the signature of some bytes is valid, in constant time."""


class CipherKey(Key):
    """A key that encrypts and decrypts."""

    __slots__ = ()

    @property
    @override
    def abilities(self) -> str:
        return "encrypts and decrypts"

    @abstractmethod
    def encrypt(self, plain: bytes, bound: bytes) -> bytes:
        """Encrypt.

        Args:
            plain: the plaintext.
            bound: additional authenticated data; decryption needs the same.
        """

    @abstractmethod
    def decrypt(self, data: bytes, bound: bytes) -> bytes | None:
        """Undo `encrypt`; None if the bytes were encrypted with another key or changed."""


class HmacKey(SigningKey):
    """HMAC-SHA256: every process that can verify can also sign.

    Args:
        key_id: its id.
        secret: 32 random bytes or more.
        active: whether new messages are signed with it.
        use: which messages it is trusted for.
    """

    algorithm = Algorithm.HMAC_SHA256

    __slots__ = ("_secret",)

    def __init__(
        self, key_id: str, secret: bytes, *, active: bool = False, use: Use = Use.ALL
    ) -> None:
        if len(secret) < HMAC_SECRET_BYTES:
            raise ValueError(
                f"the secret has {len(secret)} bytes; at least {HMAC_SECRET_BYTES} are required"
            )
        super().__init__(key_id, active=active, use=use)
        self._secret = secret

    @property
    @override
    def can_sign(self) -> bool:
        """Whether it can sign: always true."""
        return True

    @override
    def sign(self, data: bytes) -> bytes:
        return hmac.digest(self._secret, data, "sha256")

    @override
    def verify(self, data: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(data), signature)
