"""The base of every error."""

from __future__ import annotations


class StemError(Exception):
    """Base of every error that stem-amqp raises."""
