"""The client of RabbitMQ's management API."""

from stem_amqp.management.client import ENABLE, Management
from stem_amqp.management.resources import NodeResources, explain, find_resources, too_many_queues
from stem_amqp.management.unsettled import Unsettled

__all__ = [
    "ENABLE",
    "Management",
    "NodeResources",
    "Unsettled",
    "explain",
    "find_resources",
    "too_many_queues",
]
