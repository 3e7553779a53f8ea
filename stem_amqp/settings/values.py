"""Parse the values of variables: durations, URLs and JSON objects."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BeforeValidator, SecretStr

from stem_amqp.durations import seconds


def split_urls(value: object) -> object:
    """Split a string of several URLs at its commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def json_object(value: object) -> object:
    """Parse a JSON object from a variable.

    Raises:
        ValueError: it is not a JSON object.
    """
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error}); {_SIGNALS}") from None
    if not isinstance(found, dict):
        raise ValueError(f"it is not a JSON object; {_SIGNALS}")  # noqa: TRY004 - what pydantic collects
    return found


_SIGNALS = 'write names of signals and true or false, such as {"worker-heartbeat": false}'


Seconds = Annotated[float, BeforeValidator(seconds)]
"""Seconds, also written as ``30s`` or ``5m``."""


def scheme_of(url: SecretStr, allowed: tuple[str, ...] | None) -> str:
    """Return a URL's scheme.

    Args:
        url: the URL.
        allowed: the allowed schemes; None allows any.

    Raises:
            ValueError: it has no scheme, or one that is not allowed.
    """
    text = url.get_secret_value()
    scheme, separator, _ = text.partition("://")
    if not separator or not scheme:
        raise ValueError("it is not a URL: it must start with a scheme, such as amqp://")
    if allowed is not None and scheme not in allowed:
        raise ValueError(
            f"the scheme {scheme[:20]}:// is not one of {', '.join(s + '://' for s in allowed)}"
        )
    return scheme
