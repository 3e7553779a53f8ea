"""The check of the result backend."""

from __future__ import annotations

import secrets

from stem_amqp.app import Stem
from stem_amqp.health.report import Finding, UnhealthyError
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.factory import create_from
from stem_amqp.text import redacted
from stem_amqp.transport.base import Transport

_KEY_TTL = 60.0
"""Seconds after which the key of a check expires, if it could not be removed."""


async def check_backend(app: Stem, transport: Transport, *, write: bool) -> Finding:
    """Open the result backend, and ask it.

    Args:
        app: the application.
        transport: for ``rpc://``, connected.
        write: whether to write and read a key, where the backend stores keys.

    Raises:
        BackendError: it cannot be reached, or refuses access.
        UnhealthyError: it returned another key than was written.
        ConfigurationError: its URL is not valid.
    """
    settings = app.settings
    url = settings.backend_url.get_secret_value()
    backend = create_from(settings, transport, app.names)
    await backend.open()
    try:
        await backend.ping()
        if not write or not backend.keeps_keys:
            return Finding(f"{redacted(url)} answers")
        await _write_and_read(backend)
    finally:
        await backend.close()
    return Finding(f"{redacted(url)} answers, and a key was written and read")


async def _write_and_read(backend: ResultBackend) -> None:
    """Write a key that only this check uses, read it, and remove it."""
    key, owner = f"health:{secrets.token_hex(8)}", secrets.token_hex(8)
    try:
        await backend.claim_key(key, owner, ttl=_KEY_TTL)
        found = await backend.claim_key(key, "another", ttl=_KEY_TTL)
    finally:
        await backend.release_key(key, owner)
    if found.owner != owner:
        raise UnhealthyError(
            "the result backend does not return the key that was written\n"
            "  Check whether reads go to a replica that is behind: keys need one primary."
        )
