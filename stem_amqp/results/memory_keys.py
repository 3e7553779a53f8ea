"""The keys of unique tasks and guarded blocks in this process."""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.results.base import KeyRecord


@dataclass(kw_only=True, slots=True)
class _Held:
    owner: str
    expires: float
    value: bytes | None = None


class MemoryKeys:
    """Keys by their text. Nothing here waits, so every method is one step for everybody else."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def claim(self, key: str, owner: str, ttl: float, now: float) -> KeyRecord:
        """Take a key that nobody holds, and return how it stands."""
        held = self._held.get(key)
        if held is None or held.expires <= now:
            held = self._held[key] = _Held(owner=owner, expires=now + ttl)
        elif held.owner == owner and held.value is None:
            held.expires = now + ttl
        return KeyRecord(owner=held.owner, value=held.value, remaining=held.expires - now)

    def keep(self, key: str, owner: str, ttl: float, value: bytes | None, now: float) -> bool:
        """Hold a key for longer, and return whether the owner still held it."""
        held = self._held.get(key)
        if held is None or held.expires <= now or held.owner != owner:
            return False
        held.expires = now + ttl
        if value is not None:
            held.value = value
        return True

    def release(self, key: str, owner: str, now: float) -> bool:
        """Let a key go, and return whether the owner held it."""
        held = self._held.get(key)
        if held is None or held.expires <= now or held.owner != owner:
            return False
        del self._held[key]
        return True

    def purge(self, now: float) -> int:
        """Forget what has expired, and return how many keys that were."""
        expired = [key for key, held in self._held.items() if held.expires <= now]
        for key in expired:
            del self._held[key]
        return len(expired)
