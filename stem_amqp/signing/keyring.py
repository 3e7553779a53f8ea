"""The keys that a process has, and how they change while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stem_amqp.errors import ConfigurationError
from stem_amqp.signing.keys import CipherKey, Key, SigningKey

log = logging.getLogger("stem_amqp.signing")

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the file for a key that is not known, at least."""


class KeySet:
    """Keys as they are at a moment; it never changes.

    Attributes:
        signing: the active key that signs, if there is one.
        encrypting: the active key that encrypts, if there is one.
        verifies: whether any key can verify a signature.

    Args:
        keys: in any order.

    Raises:
        ConfigurationError: two have one id, two that sign or encrypt are active, or one is active
            that cannot sign.
    """

    __slots__ = ("_by_id", "encrypting", "signing", "verifies")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_id: dict[str, Key] = {}
        self.signing: SigningKey | None = None
        self.encrypting: CipherKey | None = None
        for key in keys:
            if key.id in self._by_id:
                raise ConfigurationError(f"there are two keys with the id {key.id!r}")
            self._by_id[key.id] = key
            if key.active:
                self._activate(key)
        self.verifies = any(isinstance(key, SigningKey) for key in self._by_id.values())

    def _activate(self, key: Key) -> None:
        before = self.signing if isinstance(key, SigningKey) else self.encrypting
        if before is not None:
            raise ConfigurationError(
                f"the keys {before.id!r} and {key.id!r} are both active: one of a kind can be"
            )
        if isinstance(key, CipherKey):
            self.encrypting = key
        elif isinstance(key, SigningKey):
            if not key.can_sign:
                raise ConfigurationError(
                    f"the key {key.id!r} is active, but its private half is not here"
                )
            self.signing = key

    def get(self, key_id: str) -> Key | None:
        """Return the key of that id, or None."""
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
    """What a reload changed.

    Args:
        added: ids that are new.
        removed: ids that are gone.
        signing: id of the key that signs from now on, if there is one.
        encrypting: id of the key that encrypts from now on, if there is one.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    signing: str | None
    encrypting: str | None

    def __str__(self) -> str:
        words = [
            f"added {', '.join(self.added)}" if self.added else "",
            f"removed {', '.join(self.removed)}" if self.removed else "",
            f"signing with {self.signing}" if self.signing else "signing with none",
            f"encrypting with {self.encrypting}" if self.encrypting else "",
        ]
        return "; ".join(word for word in words if word)


class KeyRing:
    """The keys of a process. Reading never blocks, and a failed reload changes nothing.

    Args:
        read: reads the keys; raises ConfigurationError if they cannot be used.
        stamp: something that changes whenever `read` would read something else, cheap to ask for.
        clock: seconds that only go forward.

    Raises:
        ConfigurationError: the keys cannot be used.
    """

    def __init__(
        self,
        read: Callable[[], KeySet],
        *,
        stamp: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._stamp = stamp
        self._clock = clock
        self._read_stamp = stamp()
        self._looked = -LOOK_INTERVAL + clock()
        self._keys = read()

    @classmethod
    def of(cls, *keys: Key) -> KeyRing:
        """Return a ring of these keys, which never change."""
        keyset = KeySet(keys)
        return cls(lambda: keyset)

    @property
    def current(self) -> KeySet:
        """The keys as they are now."""
        return self._keys

    def find(self, key_id: str) -> Key | None:
        """Return the key of that id, or None.

        One that is not known may be newer than what this process has read: so the file is read
        again if it has changed, with one look a second at most.
        """
        key = self._keys.get(key_id)
        if key is None and self._changed():
            try:
                change = self.reload()
            except ConfigurationError as error:
                log.warning("the keys could not be read again; the old ones stay: %s", error)
            else:
                log.info("the keys have changed: %s", change)
                key = self._keys.get(key_id)
        return key

    def reload(self) -> KeyChange:
        """Read the keys again.

        Raises:
            ConfigurationError: they cannot be used; the old ones stay.
        """
        stamp = self._stamp()
        old, new = self._keys, self._read()
        self._keys, self._read_stamp = new, stamp
        before, after = ({key.id for key in keys.keys} for keys in (old, new))
        return KeyChange(
            added=tuple(sorted(after - before)),
            removed=tuple(sorted(before - after)),
            signing=new.signing.id if new.signing else None,
            encrypting=new.encrypting.id if new.encrypting else None,
        )

    def _changed(self) -> bool:
        now = self._clock()
        if now - self._looked < LOOK_INTERVAL:
            return False
        self._looked = now
        return self._stamp() != self._read_stamp

    def __repr__(self) -> str:
        return f"<KeyRing {list(self._keys.keys)}>"
