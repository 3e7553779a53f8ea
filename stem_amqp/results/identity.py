"""The identity of a result backend's store: two processes with the same one share keys, limits and directives."""

from __future__ import annotations

import logging
import secrets

from stem_amqp.errors import StemError
from stem_amqp.results.base import ResultBackend

log = logging.getLogger("stem_amqp.results")

LIFETIME = 3650 * 86_400.0
"""Seconds for which the identity is kept in the store."""


async def read_identity(backend: ResultBackend, namespace: str) -> str:
    """Return the identity of a store for a namespace, which the first process that asks writes there.

    Args:
        backend: the backend, open.
        namespace: the application's namespace.

    Returns:
        The identity; empty if the backend keeps no keys, or does not answer.
    """
    if not backend.keeps_keys:
        return ""
    try:
        found = await backend.claim_key(
            f"store-identity:{namespace}", secrets.token_hex(8), ttl=LIFETIME
        )
    except StemError as error:
        log.debug("the identity of the result backend is not known: %s", error)
        return ""
    return found.owner
