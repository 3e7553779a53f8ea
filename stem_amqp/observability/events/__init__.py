"""Lifecycle events across processes: published while a listener has announced itself."""

from stem_amqp.observability.events.catalogue import CATALOGUE, EventKind
from stem_amqp.observability.events.event import LifecycleEvent
from stem_amqp.observability.events.exporter import EventsExporter
from stem_amqp.observability.events.stream import Filters, stream_events

__all__ = [
    "CATALOGUE",
    "EventKind",
    "EventsExporter",
    "Filters",
    "LifecycleEvent",
    "stream_events",
]
