"""The reference of the topology file, from its JSON Schema."""

import re
from typing import Any

from stem_amqp.topology.file.schema import json_schema

SECTIONS = {
    "QueueSpec": "A queue: `queues.<name>`, `defaults`",
    "RetrySpec": "Retries: `retry`, `retries.<name>`",
    "BackoffSpec": "Waits: `backoff`",
    "NativeRetrySpec": "Native retries: `native_retry`",
    "DeadLetterSpec": "Dead letters: `dead_letter`",
    "BreakerSpec": "Breakers: `breaker`",
    "RouteSpec": "Routes: `routes`",
    "ExchangeSpec": "Exchanges: `exchanges.<name>`",
    "BindingSpec": "Bindings: `bindings`",
    "ExtraQueueSpec": "Queues without tasks: `extra_queues.<name>`",
    "PolicySpec": "Policies: `policies.<name>`, `operator_policies.<name>`",
}


def page() -> str:
    """Return a table of the keys of each part of the file."""
    schema = json_schema()
    lines = ["## The file", "", *_table(schema)]
    parts = schema["$defs"]
    for name in [*SECTIONS, *(other for other in parts if other not in SECTIONS)]:
        if parts.get(name, {}).get("properties"):
            lines += [f"## {SECTIONS.get(name, name)}", "", *_table(parts[name])]
    return "\n".join(lines)


def _table(part: dict[str, Any]) -> list[str]:
    required = part.get("required", [])
    rows = [
        f"| `{key}` | {_type(one)} | {_default(key, one, required)} | {_cell(one)} |"
        for key, one in part["properties"].items()
    ]
    return [
        _cell(part),
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _cell(one: dict[str, Any]) -> str:
    text = " ".join(one.get("description", "").replace("``", "`").split())
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _type(one: dict[str, Any]) -> str:
    if "$ref" in one:
        name = one["$ref"].rsplit("/", 1)[1]
        return f"[{_named(name)}](#{_anchor(name)})" if name in SECTIONS else _named(name)
    if "anyOf" in one:
        kinds = [_type(choice) for choice in one["anyOf"] if choice.get("type") != "null"]
        if "duration" in kinds:
            kinds.remove("number")
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if "const" in one:
        return f"`{one['const']}`"
    if "ms|s|m" in one.get("pattern", ""):
        return "duration"
    if one.get("type") == "array":
        return f"list of {_type(one.get('items', {}))}"
    extra = one.get("additionalProperties")
    if one.get("type") == "object" and isinstance(extra, dict):
        return f"mapping to {_type(extra)}"
    return str(one.get("type", "any"))


def _named(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Spec")).lower()


def _anchor(name: str) -> str:
    return re.sub(r"[^\w\- ]", "", SECTIONS[name].lower()).replace(" ", "-")


def _default(key: str, one: dict[str, Any], required: list[str]) -> str:
    if key in required:
        return "required"
    value = one.get("default")
    if value in (None, {}, []):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
