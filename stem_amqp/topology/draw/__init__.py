"""A topology as a Mermaid diagram."""

from stem_amqp.topology.draw.graph import graph_of
from stem_amqp.topology.draw.mermaid import mermaid_text

__all__ = [
    "graph_of",
    "mermaid_text",
]
