"""AMQP's rules of routing: which messages a binding of an exchange matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stem_amqp.topology.entities import Binding


def binding_matches(
    exchange_type: str, binding: Binding, key: str, headers: Mapping[str, Any]
) -> bool:
    """Return whether a binding matches a message; never for types other than AMQP's own.

    Args:
        exchange_type: the type of the binding's source.
        binding: the binding.
        key: the message's routing key.
        headers: the message's headers.
    """
    match exchange_type:
        case "fanout":
            return True
        case "direct":
            return binding.key == key
        case "topic":
            return topic_matches(binding.key, key)
        case "headers":
            return headers_match(binding.arguments, headers)
        case _:
            return False


def topic_matches(pattern: str, key: str) -> bool:
    """Return whether a topic pattern matches a routing key.

    Args:
        pattern: words separated by dots; ``*`` is one word, ``#`` any number of words.
        key: the routing key.
    """
    words = key.split(".") if key else []
    reachable = {0}
    for part in pattern.split(".") if pattern else []:
        if part == "#":
            reachable = set(range(min(reachable), len(words) + 1))
        else:
            reachable = {
                word + 1 for word in reachable if word < len(words) and part in {"*", words[word]}
            }
        if not reachable:
            return False
    return len(words) in reachable


def headers_match(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Return whether a headers binding matches a message's headers.

    Args:
        arguments: the binding's arguments, including ``x-match``; a value of None only requires the
            header to exist.
        headers: the message's headers.
    """
    mode = str(arguments.get("x-match", "all"))
    wanted = (
        name in headers and (value is None or headers[name] == value)
        for name, value in arguments.items()
        if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
    )
    return any(wanted) if mode.startswith("any") else all(wanted)
