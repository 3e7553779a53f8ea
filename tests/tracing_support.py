"""What the tests of tracing share."""

import uuid

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import eventually

from stem_amqp import Stem
from stem_amqp.observability import Exporter
from stem_amqp.observability.tracing import TracingExporter

FAST = {"base": "50ms", "jitter": 0, "max": "50ms"}


class Spans:
    """The spans of one provider, oldest first."""

    def __init__(self, sampler=None):
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.tracer = self.provider.get_tracer("test")

    @property
    def all(self):
        return self.memory.get_finished_spans()

    def named(self, name):
        return [span for span in self.all if span.name == name]


class Outcomes(Exporter):
    """Collects the outcomes that are settled."""

    def __init__(self):
        self.all = []

    def settled(self, delivered, outcome, at):
        self.all.append(outcome)


@pytest.fixture
def spans():
    return Spans()


def application(spans, *exporters, **settings):
    place = f"memory://{uuid.uuid4().hex}"
    stem = Stem(
        broker_url=place,
        backend_url=place,
        exporters=[TracingExporter(tracer_provider=spans.provider), *exporters],
    )
    if settings:
        stem.reconfigure(**settings)
    return stem


async def work(stem, *, until):
    async with stem.worker(name="w").running():
        await eventually(until)


def links(span):
    """Return the links of a span: from the kind to the linked span's id."""
    return {link.attributes["stem.link"]: link.context.span_id for link in span.links}
