"""The keys of a process, and their reload while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stem_amqp.errors import ConfigurationError
from stem_amqp.signing.keys import Algorithm, CipherKey, Key, SigningKey, Use

log = logging.getLogger("stem_amqp.signing")

CHECK_INTERVAL = 1.0
"""Minimum seconds between two checks of the key file for an unknown key."""


class KeySet:
    """An immutable set of keys.

    Attributes:
        signing: the active key that signs tasks and everything else, if there is one.
        publishing: the active key that signs publishes and results: one with that use, otherwise
            `signing`.
        encrypting: the active key that encrypts, if there is one.
        verifies: whether any key can verify a signature.
        verifiers_can_sign: whether every process that verifies can sign publishes too: with a shared
            secret, or because workers have signing keys for publishes.

    Args:
        keys: in any order.

    Raises:
        ConfigurationError: two keys have the same id, two keys of one kind are active, or an active
            key cannot sign.
    """

    __slots__ = (
        "_by_id",
        "encrypting",
        "publishing",
        "signing",
        "verifiers_can_sign",
        "verifies",
    )

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_id: dict[str, Key] = {}
        self.signing: SigningKey | None = None
        self.publishing: SigningKey | None = None
        self.encrypting: CipherKey | None = None
        for key in keys:
            if key.id in self._by_id:
                raise ConfigurationError(f"there are two keys with the id {key.id!r}")
            self._by_id[key.id] = key
            if key.active:
                self._activate(key)
        if self.publishing is None:
            self.publishing = self.signing
        signers = [key for key in self._by_id.values() if isinstance(key, SigningKey)]
        self.verifies = bool(signers)
        shared = self.signing is not None and self.signing.algorithm is Algorithm.HMAC_SHA256
        self.verifiers_can_sign = shared or any(key.use is Use.PUBLISHES for key in signers)

    def _activate(self, key: Key) -> None:
        narrow = isinstance(key, SigningKey) and key.use is Use.PUBLISHES
        signing = self.publishing if narrow else self.signing
        before = signing if isinstance(key, SigningKey) else self.encrypting
        if before is not None:
            raise ConfigurationError(
                f"the keys {before.id!r} and {key.id!r} are both active: only one of a kind can be active"
            )
        if isinstance(key, CipherKey):
            self.encrypting = key
        elif isinstance(key, SigningKey):
            if not key.can_sign:
                raise ConfigurationError(f"the key {key.id!r} is active, but it has no private key")
            if narrow:
                self.publishing = key
            else:
                self.signing = key

    def get(self, key_id: str) -> Key | None:
        """Return the key with the id, or None."""
        return self._by_id.get(key_id)

    def to_encrypt(self) -> CipherKey:
        """Return the active key that encrypts.

        Raises:
            ConfigurationError: there is none.
        """
        if self.encrypting is None:
            raise ConfigurationError(
                "STEM_ENCRYPT is set, but no key of algorithm aes-256-gcm is active\n"
                "  Add one to the key file: stem-amqp keys generate --algorithm aes-256-gcm"
            )
        return self.encrypting

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys, in the order of the file."""
        return tuple(self._by_id.values())

    def __repr__(self) -> str:
        return f"<KeySet {list(self.keys)}>"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyChange:
    """The changes of a reload.

    Args:
        added: the ids of new keys.
        removed: the ids of removed keys.
        signing: the id of the signing key after the reload, if there is one.
        encrypting: the id of the encrypting key after the reload, if there is one.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    signing: str | None
    encrypting: str | None

    def __str__(self) -> str:
        words = [
            f"added {', '.join(self.added)}" if self.added else "",
            f"removed {', '.join(self.removed)}" if self.removed else "",
            f"signing with {self.signing}" if self.signing else "no signing key",
            f"encrypting with {self.encrypting}" if self.encrypting else "",
        ]
        return "; ".join(word for word in words if word)


class KeyRing:
    """The keys of a process. A failed reload changes nothing.

    Args:
        read: reads the keys; raises ConfigurationError if they are invalid.
        stamp: returns a value that changes whenever the source of the keys changes; it must be cheap.
        clock: monotonic time in seconds.

    Raises:
        ConfigurationError: the keys are invalid.
    """

    def __init__(
        self,
        read: Callable[[], KeySet],
        *,
        stamp: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.listeners: set[Callable[[], None]] = set()
        """Called after each reload."""
        self._read = read
        self._stamp = stamp
        self._clock = clock
        self._read_stamp = stamp()
        self._checked_at = -CHECK_INTERVAL + clock()
        self._keys = read()

    @classmethod
    def of(cls, *keys: Key) -> KeyRing:
        """Return a ring of fixed keys."""
        keyset = KeySet(keys)
        return cls(lambda: keyset)

    @property
    def current(self) -> KeySet:
        """The keys as they are now."""
        return self._keys

    def find(self, key_id: str) -> Key | None:
        """Return the key with the id, or None.

        An unknown key may be newer than the last reload: if the file has changed, it is read again.
        The file is checked at most once per `CHECK_INTERVAL`.
        """
        key = self._keys.get(key_id)
        if key is None and self._changed():
            try:
                change = self.reload()
            except ConfigurationError as error:
                log.warning("the keys could not be reloaded; the old keys stay in use: %s", error)
            else:
                log.info("the keys have changed: %s", change)
                key = self._keys.get(key_id)
        return key

    def reload(self) -> KeyChange:
        """Read the keys again.

        Raises:
            ConfigurationError: the keys are invalid; the old keys stay in use.
        """
        stamp = self._stamp()
        old, new = self._keys, self._read()
        self._keys, self._read_stamp = new, stamp
        for listener in tuple(self.listeners):
            listener()
        before, after = ({key.id for key in keys.keys} for keys in (old, new))
        return KeyChange(
            added=tuple(sorted(after - before)),
            removed=tuple(sorted(before - after)),
            signing=new.signing.id if new.signing else None,
            encrypting=new.encrypting.id if new.encrypting else None,
        )

    def _changed(self) -> bool:
        now = self._clock()
        if now - self._checked_at < CHECK_INTERVAL:
            return False
        self._checked_at = now
        return self._stamp() != self._read_stamp

    def __repr__(self) -> str:
        return f"<KeyRing {list(self._keys.keys)}>"
