"""Keys of unique tasks and guarded blocks in the memory of this process."""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.results.base import KeyRecord


@dataclass(kw_only=True, slots=True)
class _Held:
    owner: str
    expires: float
    value: bytes | None = None


class MemoryKeys:
    """Keys by their text. No method awaits anything, so each is atomic in its event loop."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def claim(self, key: str, owner: str, ttl: float, now: float) -> KeyRecord:
        """Claim a key that is free, and return its record."""
        held = self._held.get(key)
        if held is None or held.expires <= now:
            held = self._held[key] = _Held(owner=owner, expires=now + ttl)
        elif held.owner == owner and held.value is None:
            held.expires = now + ttl
        return KeyRecord(owner=held.owner, value=held.value, remaining=held.expires - now)

    def keep(self, key: str, owner: str, ttl: float, value: bytes | None, now: float) -> bool:
        """Extend the time of a key, and return whether the owner still held it."""
        held = self._held.get(key)
        if held is None or held.expires <= now or held.owner != owner:
            return False
        held.expires = now + ttl
        if value is not None:
            held.value = value
        return True

    def swap(  # noqa: PLR0917
        self, key: str, owner: str, ttl: float, expected: bytes | None, value: bytes, now: float
    ) -> KeyRecord:
        """Store a value if the key has the expected one, and return the key's record."""
        record = self.claim(key, owner, ttl, now)
        if record.owner != owner or record.value != expected:
            return record
        self.keep(key, owner, ttl, value, now)
        return KeyRecord(owner=owner, value=value, remaining=ttl)

    def release(self, key: str, owner: str, now: float) -> bool:
        """Release a key, and return whether the owner held it."""
        held = self._held.get(key)
        if held is None or held.expires <= now or held.owner != owner:
            return False
        del self._held[key]
        return True

    def purge(self, now: float) -> int:
        """Remove the expired keys, and return their number."""
        expired = [key for key, held in self._held.items() if held.expires <= now]
        for key in expired:
            del self._held[key]
        return len(expired)
