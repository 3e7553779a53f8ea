"""The tracer of an exporter, and what its provider's sampler allows to skip."""

from __future__ import annotations

from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.semconv.schemas import Schemas

from stem_amqp.observability.tracing.carrier import reads_plainly
from stem_amqp.observability.tracing.processing import Processing
from stem_amqp.observability.tracing.sending import Sending


class Tracers:
    """The parts of a `stem_amqp.observability.tracing.TracingExporter` that need OpenTelemetry.

    Args:
        provider: makes the tracer; None: the one that is configured in this process.

    Attributes:
        sending: makes spans of enqueues.
        processing: makes spans of runs.
    """

    def __init__(self, provider: trace.TracerProvider | None) -> None:
        self._provider = provider
        tracer = trace.get_tracer(
            "stem_amqp",
            version("stem-amqp"),
            tracer_provider=provider,
            schema_url=Schemas.V1_37_0.value,
        )
        self.sending = Sending(tracer)
        self.processing = Processing(tracer)
        self.look()

    @property
    def configured(self) -> bool:
        """Whether the provider is one of an SDK."""
        return not isinstance(self._used(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)

    def look(self) -> None:
        """Read what the sampler does with traces that are not sampled."""
        # The description is the only part of a sampler that the SDK documents for reading
        sampler = getattr(self._used(), "sampler", None)
        text = sampler.get_description() if sampler is not None else ""
        never = text == "AlwaysOffSampler"
        after = never or (
            text.startswith("ParentBased{")
            and text.count("remoteParentNotSampled:") == 1
            and "remoteParentNotSampled:AlwaysOffSampler," in text
        )
        plain = reads_plainly()
        self.processing.never = plain and never
        self.processing.never_after_unsampled = plain and after

    def flush(self) -> None:
        """Send the spans that the SDK has buffered, if it can."""
        flush = getattr(self._used(), "force_flush", None)
        if flush is not None:
            flush()

    def _used(self) -> trace.TracerProvider:
        return self._provider or trace.get_tracer_provider()
