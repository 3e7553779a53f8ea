"""The contenders by name; a module each, imported only where it is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.contender import Contender

BASE = "stem"
"""What the others are compared with."""
RAW = ("aio-pika", "aio-pika-asyncio", "aiormq")
"""The clients, with a loop of one's own around them."""
NAMES = (BASE, *RAW, "celery", "dramatiq", "taskiq", "faststream")


def load(name: str) -> Contender:
    """Return a contender.

    Args:
        name: one of `NAMES`.

    Raises:
        ImportError: its packages are not installed here.
    """
    module = import_module(f"bench.contenders.{name.partition('-asyncio')[0].replace('-', '_')}")
    contender: Contender = module.CONTENDERS[name]
    return contender
