"""Nouns with their number."""

from __future__ import annotations


def count(number: int, word: str) -> str:
    """Format a number with its noun: ``no mistakes``, ``1 message``, ``312 messages``."""
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"
