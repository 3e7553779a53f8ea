"""Derives from a worker's parts the sizes of its queues, its process pool and its admission."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Self

from stem_amqp.blueprint import Blueprint
from stem_amqp.results.identity import read_identity
from stem_amqp.worker.batching.room import batches_of, check_prefetch, room_for
from stem_amqp.worker.gates.admission import Admission
from stem_amqp.worker.gates.limits.gate import LimitGate
from stem_amqp.worker.gates.limits.window import window_of
from stem_amqp.worker.isolation.pool import ProcessPool
from stem_amqp.worker.parts import WorkerParts
from stem_amqp.worker.report.gauges import Gauges
from stem_amqp.worker.report.observer import Observer
from stem_amqp.worker.report.presence import Presence
from stem_amqp.worker.report.reporter import Reporter

MOST_UNSETTLED = 65_535
"""The largest prefetch that AMQP can express."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSize:
    """The concurrency and the prefetch of a queue in one worker.

    Args:
        queue: the logical queue.
        concurrency: the maximum number of tasks at once.
        prefetch: the maximum number of unsettled deliveries, at least the concurrency.
        window: how many of those may wait without a slot: for the start that a limit allows, or in a batch.
    """

    queue: str
    concurrency: int
    prefetch: int
    window: int = 0

    @classmethod
    def of(
        cls, queue: str, blueprint: Blueprint, concurrency: int | None, prefetch: int | None
    ) -> Self:
        """Return the size of a queue: the given one, else the topology's, else the settings'.

        Args:
            queue: the logical queue.
            blueprint: the application.
            concurrency: the maximum number of tasks at once, if given.
            prefetch: the maximum number of unsettled deliveries, if given.

        Raises:
            ConfigurationError: the prefetch is smaller than a batch.
        """
        spec, settings = blueprint.topology.queue(queue), blueprint.settings
        size = concurrency or spec.concurrency or settings.concurrency
        given = prefetch or spec.prefetch or settings.prefetch
        unsettled = given or size
        if concurrency and not prefetch:
            # A given concurrency overrides the prefetch of the file or of the settings
            unsettled = max(unsettled, concurrency)
        # With fewer deliveries than slots, some slots would never be used
        window = window_of(queue, blueprint)
        batches = batches_of(queue, blueprint)
        if batches and given:
            check_prefetch(queue, unsettled, batches)
        room = 0 if given else room_for(batches)
        return cls(
            queue=queue,
            concurrency=min(size, unsettled),
            prefetch=min(unsettled + window + room, MOST_UNSETTLED),
            window=max(window + room, 1 if batches else 0),
        )


def make_processes(parts: WorkerParts) -> ProcessPool | None:
    """Return a process pool; None if no task uses one, or the broker is in memory.

    Raises:
        ConfigurationError: a task uses one, and a child process cannot import the application.
    """
    blueprint, seal = parts.blueprint, parts.connected.seal
    names = [task.name for task in blueprint.registry if task.options.executor == "process"]
    if not names or blueprint.settings.in_memory:
        # An in-memory broker exists only in this process, so its tasks can run only here
        return None
    pool = ProcessPool(parts.app, blueprint.settings)
    pool.check(names[0])
    if seal is not None:
        seal.ring.listeners.add(pool.reload_keys)
    return pool


def make_admission(parts: WorkerParts, worker: str) -> Admission | None:
    """Return the check of signed publishes; None if there are no keys.

    Args:
        parts: the worker's parts.
        worker: its name.
    """
    seal = parts.connected.seal
    if seal is None:
        return None
    return Admission(parts.blueprint, parts.connected, seal, worker=worker)


def make_limits(parts: WorkerParts) -> LimitGate:
    """Make what decides when limited tasks start."""
    connected = parts.connected
    return LimitGate(
        parts.blueprint,
        connected.backend.limits(),
        transport=connected.transport,
        telemetry=parts.blueprint.telemetry,
    )


def queues_of_threads(blueprint: Blueprint, processes: ProcessPool | None) -> set[str]:
    """Return the logical queues of the tasks that run in threads.

    Args:
        blueprint: the application.
        processes: the worker's process pool, if it has one.
    """
    return {
        blueprint.queue_of(task)
        for task in blueprint.registry
        if not task.is_async and (processes is None or task.options.executor != "process")
    }


def make_presence(parts: WorkerParts, gauges: Gauges, observer: Observer) -> Presence:
    """Make what sends a worker's heartbeats."""
    settings, backend = parts.blueprint.settings, parts.connected.backend
    # A backend in memory is meant to be of one process
    in_memory = settings.backend_url.get_secret_value().startswith("memory:")
    return Presence(
        gauges,
        parts.connected.transport,
        parts.blueprint.names,
        interval=settings.heartbeat_interval,
        on_heartbeat=lambda: observer.heartbeat(gauges.statistics()),
        open_transport=parts.open_transport,
        events=parts.connected.events,
        identity=None if in_memory else partial(read_identity, backend, settings.namespace),
    )


def make_reporter(parts: WorkerParts, presence: Presence) -> Reporter:
    """Make what answers requests for a worker's state."""
    return Reporter(
        parts.connected.transport,
        lambda: presence.heartbeat().encode(),
        refused=presence.send,
        prefix=f"{parts.blueprint.names.control}.ask-",
    )
