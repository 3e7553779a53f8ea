"""The JSON Schema and the example file. Run this file to write the schema again."""

import json
import re
from pathlib import Path

import pytest

from stem_amqp.topology.file.load import load_topology, parse_topology
from stem_amqp.topology.file.schema import json_schema, schema_text

TOPOLOGY = Path(__file__).parents[2] / "topology"


def objects(schema):
    """Yield the schema of every mapping with known keys."""
    yield schema
    yield from (spec for spec in schema["$defs"].values() if "properties" in spec)


def test_the_schema_file_is_up_to_date():
    """Editors read the file, so it has to match the model."""
    assert json.loads((TOPOLOGY / "schema.json").read_text()) == json_schema(), (
        "the model has changed; run: python " + __file__
    )


def test_every_key_has_a_description():
    """An editor shows it to the author of a file."""
    for schema in objects(json_schema()):
        assert schema["description"]
        for name, key in schema["properties"].items():
            assert key.get("description"), name


def test_unknown_keys_are_refused_everywhere():
    """An editor marks what the loader refuses."""
    assert all(schema["additionalProperties"] is False for schema in objects(json_schema()))


def test_the_schema_is_of_a_draft_that_editors_know():
    """The draft is named, and the version is the one required key."""
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["version"]


@pytest.mark.parametrize(
    ("duration", "fits"),
    [("200ms", True), ("1h30m", True), ("1.5s", True), ("5", False), ("5 s", False), ("", False)],
)
def test_a_duration_is_a_number_or_a_text_with_units(duration, fits):
    """The schema's pattern and the loader agree."""
    text, number, nothing = json_schema()["$defs"]["QueueSpec"]["properties"]["ttl"]["anyOf"]
    assert bool(re.search(text["pattern"], duration)) is fits
    assert (number["type"], nothing["type"]) == ("number", "null")
    if fits:
        assert parse_topology(f"version: 1\nqueues: {{a: {{ttl: {duration}}}}}").queue("a").ttl


def test_the_example_names_every_key():
    """The example shows all that a file can have."""
    text = (TOPOLOGY / "default.yaml").read_text()
    for schema in objects(json_schema()):
        for name in schema["properties"]:
            assert re.search(rf"\b{name}:", text), name


def test_the_examples_that_are_commented_out_are_right():
    """Without the comment signs, they are a file without mistakes."""
    text = (TOPOLOGY / "default.yaml").read_text()
    example = re.compile(
        r'^( *)# (?=[\w.]+: ?[^ ]|\w[\w.]*:$|"\{namespace\}\.audit":| {2}|- \{)', re.MULTILINE
    )
    shown, count = example.subn(r"\1", text)
    assert count > 15
    found = parse_topology(shown, "default.yaml")
    assert found.declared == ("default", "orders", "emails", "billing.eu", "reports")
    assert found.queue("reports").native_retry is not None
    assert (len(found.exchanges), len(found.bindings), len(found.routes)) == (2, 2, 2)
    assert found.queue("billing.eu").max_retries == 10
    assert load_topology(TOPOLOGY / "default.yaml").declared == ("default",)


if __name__ == "__main__":
    (TOPOLOGY / "schema.json").write_text(schema_text())
