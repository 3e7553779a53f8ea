"""Create a topology file from the existing entities of a broker."""

from stem_amqp.topology.adopt.definitions import Existing, existing_of, read_definitions
from stem_amqp.topology.adopt.file import adopted_text
from stem_amqp.topology.adopt.topology import adopt

__all__ = [
    "Existing",
    "adopt",
    "adopted_text",
    "existing_of",
    "read_definitions",
]
