"""Limits of received messages: a message that exceeds them is dead-lettered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from stem_amqp.errors import DecodeError

CEILING = 64 * 1024 * 1024
"""The default of the largest body that is read, in bytes."""
DEEPEST = 254
"""The deepest nesting of JSON that orjson can write, the outermost level included."""
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""The strings in a JSON document. An unterminated one reaches to the end, so matching is linear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingLimits:
    """Limits of the messages that a worker reads.

    Args:
        body_size: bytes of a body.
        values: JSON values in a body, counted by its commas and opening brackets. A value takes up to
            a hundred bytes of memory, and as few as two in the body.
        nesting: levels of nested objects and arrays, the outermost included.
        headers: number of AMQP headers; their total size is limited to one frame in any case.
        options: number of options in the body.
    """

    body_size: int = CEILING
    values: int = 1_000_000
    nesting: int = DEEPEST
    headers: int = 1000
    options: int = 64

    def check_delivery(self, body: bytes, headers: Mapping[str, Any]) -> None:
        """Check the headers and the size of a message before its body is read.

        Raises:
            DecodeError: a limit is exceeded.
        """
        if len(headers) > self.headers:
            raise DecodeError(
                f"the message has {len(headers)} headers, a worker accepts {self.headers}"
                " (STEM_INCOMING_HEADERS)",
                body,
            )
        if len(body) > self.body_size:
            raise self._too_large(body)

    def check_body(self, body: bytes) -> None:
        """Check the size and the number of values of a body before it is parsed.

        Raises:
            DecodeError: a limit is exceeded.
        """
        if len(body) > self.body_size:
            raise self._too_large(body)
        if len(body) > self.values and _separators(body) > self.values:
            count = _separators(_STRINGS.sub(b"", body))
            if count > self.values:
                raise DecodeError(
                    f"the body has about {count} values, a worker accepts {self.values}"
                    " (STEM_INCOMING_VALUES)",
                    body,
                )

    def is_too_deep(self, data: object) -> bool:
        """Say whether JSON values are nested deeper than the limit.

        Args:
            data: the values.
        """
        if self.nesting == DEEPEST:
            try:
                orjson.dumps(data)  # orjson has the same limit
            except TypeError:
                return True
            return False
        level: list[Any] = [data]
        for _ in range(self.nesting):
            level = [
                inner
                for value in level
                if isinstance(value, (dict, list))
                for inner in (value.values() if isinstance(value, dict) else value)
                if isinstance(inner, (dict, list))
            ]
            if not level:
                return False
        return True

    def _too_large(self, body: bytes) -> DecodeError:
        return DecodeError(
            f"the body has {len(body)} bytes, a worker accepts {self.body_size}"
            " (STEM_INCOMING_BODY_SIZE)",
            body,
        )


def _separators(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


DEFAULT_LIMITS = IncomingLimits()
