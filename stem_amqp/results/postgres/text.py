"""Encode texts for PostgreSQL, which stores neither a NUL nor a lone surrogate."""

from __future__ import annotations

from stem_amqp.results.records import writable

NUL = "\ufdd0"
"""Replaces a NUL: a noncharacter, which no text for interchange contains."""


def stored(text: str) -> str:
    """Return the stored form of a text."""
    if "\0" in text:
        text = text.replace("\0", NUL)
    return writable(text) or ""


def stored_or_none(text: str | None) -> str | None:
    """Return the stored form of an optional text."""
    return None if text is None else stored(text)


def original(text: str) -> str:
    """Return the original of a stored text."""
    return text.replace(NUL, "\0") if NUL in text else text


def original_or_none(text: str | None) -> str | None:
    """Return the original of an optional stored text."""
    return None if text is None else original(text)
