"""Export a topology for other tools: definitions, Kubernetes, Terraform."""

from stem_amqp.topology.export.definitions import definitions_text
from stem_amqp.topology.export.kubernetes import Target, manifests_text
from stem_amqp.topology.export.terraform import terraform_text, unrepresentable

__all__ = [
    "Target",
    "definitions_text",
    "manifests_text",
    "terraform_text",
    "unrepresentable",
]
