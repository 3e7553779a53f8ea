"""The JSON Schema of a topology file, for editors that complete and check YAML."""

from __future__ import annotations

import json
from typing import Any

from stem_amqp.settings import NAME, NAME_LIMIT
from stem_amqp.topology.model import Topology

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12, with a description of every key.

    It accepts every file that `load_topology` accepts. Only `load_topology` checks relations between
    keys, such as a binding's exchange that must exist.
    """
    generated = Topology.model_json_schema()
    definitions = {name: _trimmed(spec) for name, spec in generated.pop("$defs").items()}
    schema = _trimmed(generated)
    # a section or a queue may have no value; anyOf would hide the errors in it
    for section in schema["properties"].values():
        if section.get("type") in {"object", "array"}:
            section["type"] = [section["type"], "null"]
    for name in ("QueueSpec", "ExtraQueueSpec", "ExchangeSpec", "RetrySpec"):
        definitions[name]["type"] = ["object", "null"]
    name_rule = {"pattern": f"^{NAME.pattern}$", "maxLength": NAME_LIMIT}
    for name in ("queues", "retries", "limits", "schedules"):
        schema["properties"][name]["propertyNames"] = name_rule
    schema["properties"]["namespace"]["anyOf"][0] |= name_rule
    definitions["RouteSpec"]["properties"]["queue"] |= name_rule
    return {
        "$schema": DRAFT,
        "title": "stem-amqp topology",
        **schema,
        "$defs": definitions,
    }


def schema_text() -> str:
    """Return the text of ``topology/schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _trimmed(schema: Any) -> Any:
    """Remove the titles that pydantic generates and the line breaks in descriptions."""
    if isinstance(schema, list):
        return [_trimmed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: _trimmed(part) for name, part in value.items()}
        elif key == "description":
            result[key] = " ".join(str(value).split())
        elif key != "title":
            result[key] = _trimmed(value)
    return result
