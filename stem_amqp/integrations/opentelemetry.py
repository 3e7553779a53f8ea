"""The entry point of tracing for ``opentelemetry-instrument``, in the group ``opentelemetry_instrumentor``.

An application does not need it: tracing is on where an OpenTelemetry SDK is configured.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from stem_amqp.errors import ConfigurationError

try:
    from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined] # untyped
        BaseInstrumentor,
    )
    from typing_extensions import override
except ImportError as error:
    raise ConfigurationError(
        "stem_amqp.integrations.opentelemetry needs OpenTelemetry's instrumentation.\n"
        "  pip install opentelemetry-instrumentation 'stem-amqp[otel]'"
    ) from error

from stem_amqp.observability.tracing import instrument, uninstrument

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


class StemInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Traces the applications of this process: ``StemInstrumentor().instrument(tracer_provider=…)``."""

    @override
    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the requirement that it instruments: the installed stem-amqp."""
        return (f"stem-amqp == {version('stem-amqp')}",)

    @override
    def _instrument(self, *, tracer_provider: TracerProvider | None = None, **_: Any) -> None:
        instrument(tracer_provider)

    @override
    def _uninstrument(self, **_: Any) -> None:
        uninstrument()
