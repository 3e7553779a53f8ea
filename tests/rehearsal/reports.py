"""Spans and Sentry events of a process, written into files instead of being sent."""

import json
import os
from pathlib import Path

import sentry_sdk
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from sentry_sdk.transport import Transport

from stem_amqp.integrations.sentry import StemIntegration


def report(kind):
    """Open the file of this process for spans or Sentry events, one JSON document per line."""
    return Path(f"{kind}-{os.getpid()}.jsonl").open("a", encoding="utf-8")


class ToFile(Transport):
    """Writes events into a file instead of sending them to Sentry."""

    def capture_envelope(self, envelope):
        with report("sentry") as file:
            for item in envelope.items:
                if item.type == "event":
                    file.write(json.dumps(json.loads(item.payload.get_bytes())) + "\n")


def set_up():
    """Configure both, as the module of an application does."""
    provider = TracerProvider()
    to_file = ConsoleSpanExporter(
        out=report("spans"), formatter=lambda span: span.to_json(indent=None) + "\n"
    )
    provider.add_span_processor(SimpleSpanProcessor(to_file))
    trace.set_tracer_provider(provider)
    sentry_sdk.init(
        dsn="https://key@sentry.invalid/1", transport=ToFile, integrations=[StemIntegration()]
    )
