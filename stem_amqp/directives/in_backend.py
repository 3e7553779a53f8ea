"""Directives in the result backend: one document in a key, changed by compare-and-set."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from typing_extensions import override

from stem_amqp.directives.document import Document, Entry
from stem_amqp.directives.store import Change, Store
from stem_amqp.errors import BackendError
from stem_amqp.results.base import ResultBackend

log = logging.getLogger("stem_amqp.directives")

LIFETIME = 3650 * 86_400.0
"""Seconds for which a document is kept after its last change."""
ATTEMPTS = 100
"""The most attempts of a change while other processes change the document."""
_OWNER = "directives"


class BackendStore(Store):
    """Stores the document in a key of a backend with `keeps_keys`.

    Args:
        backend: the backend.
        name: the kind of backend, such as ``redis``.
        namespace: the application's namespace.
        accepts: returns whether an entry's signature is valid, or not needed.
    """

    def __init__(
        self,
        backend: ResultBackend,
        name: str,
        namespace: str,
        accepts: Callable[[Entry], bool],
    ) -> None:
        self.name = name
        self._backend = backend
        self._key = f"directives:{namespace}"
        self._accepts = accepts

    @override
    async def read(self) -> Document:
        return await self._decoded(await self._stored())

    @override
    async def change(self, change: Change) -> Document:
        stored = await self._stored()
        for attempt in range(ATTEMPTS):
            changed = change(await self._decoded(stored))
            value = changed.encode()
            stored = await self._swap(stored, value)
            if stored == value:
                return changed
            await asyncio.sleep(random.uniform(0, min(0.2, 0.005 * (attempt + 1))))
        raise BackendError(
            f"the directives were not changed: other processes changed them {ATTEMPTS} times meanwhile\n"
            "  Try again"
        )

    async def _stored(self) -> bytes | None:
        return (await self._backend.claim_key(self._key, _OWNER, ttl=LIFETIME)).value

    async def _swap(self, expected: bytes | None, value: bytes) -> bytes | None:
        """Store a value in place of another one, and return what is stored then."""
        found = await self._backend.swap_key(
            self._key, _OWNER, ttl=LIFETIME, expected=expected, value=value
        )
        return found.value

    async def _decoded(self, value: bytes | None) -> Document:
        if value is None:
            return Document()
        # verifying many signatures takes long
        return await asyncio.to_thread(Document.decode, value, self._accepts)
