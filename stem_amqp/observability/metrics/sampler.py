"""Reads the current values of a worker, and sets the gauges to them."""

from __future__ import annotations

import logging
import threading
import time

from stem_amqp.errors import ConfigurationError
from stem_amqp.observability.loop_lag import LoopLag
from stem_amqp.observability.metrics import catalogue as of
from stem_amqp.observability.metrics.instruments import Instruments
from stem_amqp.observability.metrics.model import Instrument
from stem_amqp.observability.reported import WorkerView
from stem_amqp.tls import can_read_certificates, end_of_file

log = logging.getLogger("stem_amqp.observability")

INTERVAL = 1.0
"""Seconds between two samples."""
CERTIFICATES_INTERVAL = 600.0
"""Seconds between two reads of the certificate files."""


class Sampler:
    """Samples a worker in a thread: also while a task blocks the event loop.

    Args:
        worker: the worker.
        instruments: make the gauges.
    """

    def __init__(self, worker: WorkerView, instruments: Instruments) -> None:
        self._worker = worker
        self._instruments = instruments
        self._lag = LoopLag.here()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._next_certificates = 0.0
        self._thread = threading.Thread(
            target=self._run, name="stem-amqp-metrics-sampler", daemon=True
        )

    def start(self) -> None:
        """Start to sample; call it in the event loop."""
        self._lag.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop to sample, and set the numbers of running tasks and threads to 0."""
        self._lag.stop()
        self._stopped.set()
        with self._lock:
            for queue in self._worker.capacity:
                self._set(of.RUNNING, 0, queue)
                self._set(of.CAPACITY, 0, queue)
            self._set(of.THREADS_IN_USE, 0)
            self._set(of.THREADS, 0)
            self._set(of.LOOP_LAG, 0)

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL):
            try:
                self.sample()
            except Exception:  # the next sample may succeed
                log.exception("the gauges of the worker cannot be read")

    def sample(self) -> None:
        """Set the gauges; any thread may call it."""
        with self._lock:
            if self._stopped.is_set():
                return
            for queue, capacity in self._worker.capacity.items():
                self._set(of.CAPACITY, capacity, queue)
            for queue, running in self._worker.running.items():
                self._set(of.RUNNING, running, queue)
            in_use, maximum = self._worker.threads
            self._set(of.THREADS_IN_USE, in_use)
            self._set(of.THREADS, maximum)
            self._set(of.LOOP_LAG, self._lag.peak)
            self._sample_certificates()

    def _sample_certificates(self) -> None:
        now = time.monotonic()
        if now < self._next_certificates or not can_read_certificates():
            return
        self._next_certificates = now + CERTIFICATES_INTERVAL
        for file in self._worker.certificates:
            try:
                expiry = end_of_file(file).timestamp()
            except ConfigurationError as error:
                log.warning("no metric shows when a certificate expires: %s", error)
            else:
                self._set(of.CERTIFICATE_EXPIRY, expiry, str(file))

    def _set(self, instrument: Instrument, value: float, *labels: str) -> None:
        self._instruments.gauge(instrument, labels).set(value)
