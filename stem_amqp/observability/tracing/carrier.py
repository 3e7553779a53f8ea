"""Trace contexts in AMQP headers: read, written, and read fast where nothing is sampled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

TRACEPARENT = "traceparent"
LAST_RUN_HEADER = "stem-last-run"
"""The header with the span of the run before, in the format of ``traceparent``."""
PREFIX = "otel-"
"""The prefix of trace headers among the values that are sent to a child process."""

_W3C = frozenset({TRACEPARENT, "tracestate", "baggage"})
"""The headers of the propagators that OpenTelemetry uses unless it is configured otherwise."""
_matches = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]").fullmatch
_PROPAGATOR = TraceContextTextMapPropagator()
(_SPAN_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
"""The key of the current span in a context."""


class _Headers(Getter[Mapping[str, Any]]):
    """Reads AMQP headers, whose values any client may have written."""

    @override
    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(key)
        return [value] if isinstance(value, str) else None

    @override
    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return [name for name, value in carrier.items() if isinstance(value, str)]


_HEADERS = _Headers()


def written(context: Context | None = None) -> dict[str, str]:
    """Return the headers of a context, as the configured propagator writes them.

    Args:
        context: the context; None: the current one.
    """
    headers: dict[str, str] = {}
    propagate.inject(headers, context)
    return headers


def extracted(headers: Mapping[str, Any]) -> Context:
    """Return the context in headers, as the configured propagator reads it; empty if there is none."""
    return propagate.extract(headers, Context(), _HEADERS)


def reads_plainly() -> bool:
    """Return whether the configured propagator reads no headers but those of W3C."""
    return TRACEPARENT in (fields := propagate.get_global_textmap().fields) and fields <= _W3C


class _Unsampled(trace.NonRecordingSpan):
    """A remote span that is not sampled; its header is parsed when it is first asked for."""

    def __init__(self, traceparent: str) -> None:
        # the base class would need the parsed context; each run of a trace that is not sampled is here
        self._traceparent = traceparent
        self._parsed: trace.SpanContext | None = None

    @override
    def get_span_context(self) -> trace.SpanContext:
        if self._parsed is None:
            self._parsed = _span_in(self._traceparent)
        return self._parsed

    @override
    def __repr__(self) -> str:
        return f"NonRecordingSpan({self.get_span_context()!r})"


def unsampled(traceparent: object) -> Context | None:
    """Return the context of a W3C header whose span is not sampled; None for any other value."""
    if type(traceparent) is str and _matches(traceparent):
        return Context({_SPAN_KEY: _Unsampled(traceparent)})
    return None


def _span_in(traceparent: str) -> trace.SpanContext:
    context = _PROPAGATOR.extract({TRACEPARENT: traceparent}, Context())
    return trace.get_current_span(context).get_span_context()


def last_run(headers: Mapping[str, Any]) -> trace.SpanContext | None:
    """Return the span of the run before; None if there is none."""
    value = headers.get(LAST_RUN_HEADER)
    if not isinstance(value, str):
        return None
    found = _span_in(value)
    return found if found.is_valid else None


def as_header(context: trace.SpanContext) -> str:
    """Return a span as the value of `LAST_RUN_HEADER`."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(
        carrier, trace.set_span_in_context(trace.NonRecordingSpan(context), Context())
    )
    return carrier[TRACEPARENT]
