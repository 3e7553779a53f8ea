"""The exporter that makes spans of enqueues and runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from typing_extensions import override

from stem_amqp.errors import ConfigurationError
from stem_amqp.observability.exporter import Exporter
from stem_amqp.observability.guard import handles_errors, noting
from stem_amqp.observability.reported import Bulk, Delivered, End, Publishing, WorkerView
from stem_amqp.outcome import Dead, Outcome

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

FLUSH = 2.0
"""Maximum seconds for sending buffered spans before the process exits."""


class TracingExporter(Exporter):
    """Makes a span for each enqueue and each run, with OpenTelemetry.

    An application needs it only for a provider of its own: ``Stem(exporters=[TracingExporter(…)])``.
    Where an OpenTelemetry SDK is configured, `Stem` adds one when it connects; see ``STEM_TRACING``.

    Args:
        tracer_provider: makes the tracer; None: the one that is configured in this process.

    Raises:
        ConfigurationError: OpenTelemetry's API is not installed.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        try:
            from stem_amqp.observability.tracing.tracers import Tracers  # noqa: PLC0415 - optional
        except ImportError as error:
            raise ConfigurationError(
                f"tracing needs OpenTelemetry, which cannot be imported ({error}).\n"
                "  pip install 'stem-amqp[otel]', or disable it: STEM_TRACING=off"
            ) from error
        self._tracers = Tracers(tracer_provider)
        self._sending, self._processing = self._tracers.sending, self._tracers.processing
        self._recorded = self._processing.recorded
        self._note_started, self._note_ended = noting(self.started), noting(self.ended)

    @property
    def configured(self) -> bool:
        """Whether there is an SDK: without one, spans are made by nothing and sent nowhere."""
        return self._tracers.configured

    @override
    def publishing(self, publishing: Publishing) -> End | None:
        return self._sending.begin(publishing)

    @override
    def publishing_many(self, bulk: Bulk) -> End | None:
        return self._sending.begin_many(bulk)

    @override
    def worker_started(self, worker: WorkerView) -> None:
        self._tracers.look()

    @override
    @handles_errors
    def started(self, delivered: Delivered) -> None:
        try:
            self._processing.start(delivered)
        except Exception:  # noqa: BLE001 - logged there
            self._note_started()

    @override
    def sent_to_child(self, delivered: Delivered) -> None:
        self._processing.send(delivered)

    @override
    def run_in_child(self, delivered: Delivered) -> None:
        self._processing.enter(delivered)

    @override
    @handles_errors
    def ended(self, delivered: Delivered, outcome: Outcome) -> None:
        if self._recorded:  # else no run that goes on has a span that is recorded
            try:
                self._processing.end(delivered, outcome)
            except Exception:  # noqa: BLE001 - logged there
                self._note_ended()

    @override
    def not_run(self, delivered: Delivered, outcome: Dead) -> None:
        self._processing.note_dead(delivered, outcome)

    @override
    def followed(self, delivered: Delivered) -> None:
        self._processing.join(delivered)

    @override
    def exiting(self) -> None:
        # in a thread: a collector that does not answer must not delay the exit
        flushing = threading.Thread(target=self._tracers.flush, name="stem-amqp-spans", daemon=True)
        flushing.start()
        flushing.join(FLUSH)
