"""Read topology files: YAML, overlays, variables, their schema."""

from stem_amqp.topology.file.load import load_topology
from stem_amqp.topology.file.schema import schema_text

__all__ = [
    "load_topology",
    "schema_text",
]
