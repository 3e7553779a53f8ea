"""Answers the command that asks for the inside of a worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from stem_amqp.blueprint import Blueprint
from stem_amqp.messages.answers import (
    HELD,
    REGISTERED,
    ConsumedQueue,
    HeldTask,
    Inspection,
    RegisteredTask,
)
from stem_amqp.messages.commands import Inspect
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import TaskOptions
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.presence import Presence
from stem_amqp.worker.steering.orders import Done

OPTIONS = (
    "max_retries", "rate_limit", "time_limit", "soft_time_limit", "priority", "expires", "max_age",
    "ignore_result", "result_ttl", "idempotent",
)  # fmt: skip
"""The options of a task that are shown if they are set."""
SETTINGS = (
    "namespace", "provision", "default_queue", "concurrency", "prefetch", "grace_period",
    "heartbeat_interval", "events", "threads", "pool_processes", "max_age", "quarantine_after",
    "track_started", "result_ttl", "signatures", "require_signature", "require_encryption",
)  # fmt: skip
"""The settings that are shown: none of them has a password, a key or a URL."""
_DEFAULTS = {field.name: field.default for field in fields(TaskOptions)}


class Inspector:
    """Describes the inside of a worker.

    Args:
        blueprint: the application.
        consumers: the worker's consumers.
        presence: its heartbeat.
    """

    def __init__(
        self, blueprint: Blueprint, consumers: Sequence[QueueConsumer], presence: Presence
    ) -> None:
        self._blueprint = blueprint
        self._consumers = consumers
        self._presence = presence

    def inspect(self, _: Inspect) -> Done:
        """Return the registered tasks, the queues, the settings, and what runs and waits."""
        now = self._presence.heartbeat()
        tasks = sorted(self._blueprint.registry, key=lambda task: task.name)
        jobs = [job for consumer in self._consumers for job in consumer.jobs]
        running = sorted((job for job in jobs if _runs(job)), key=lambda job: job.begun)
        waiting = [job for job in jobs if not job.started and job.outcome is None]
        return Done(
            Inspection(
                version=now.version,
                started=now.started,
                tasks=tuple(self._registered(task) for task in tasks[:REGISTERED]),
                queues=tuple(_queue(consumer) for consumer in self._consumers),
                settings=self._settings(),
                running=tuple(map(held_task, running[:HELD])),
                waiting=tuple(map(held_task, waiting[:HELD])),
                omitted=sum(
                    max(0, len(found) - most)
                    for found, most in ((tasks, REGISTERED), (running, HELD), (waiting, HELD))
                ),
            )
        )

    def _registered(self, task: TaskDefinition) -> RegisteredTask:
        place = "event loop" if task.is_async else "thread"
        return RegisteredTask(
            name=task.name,
            queue=self._blueprint.queue_of(task),
            runs_in=task.options.executor or place,
            options=_options(task.options),
        )

    def _settings(self) -> dict[str, Any]:
        settings = self._blueprint.settings.model_dump(mode="json", include=set(SETTINGS))
        scheme, _, _ = self._blueprint.settings.backend_url.get_secret_value().partition(":")
        level = logging.getLevelName(logging.getLogger().getEffectiveLevel())
        return {**settings, "backend": scheme, "log_level": level}


def _options(options: TaskOptions) -> dict[str, Any]:
    found = {name: getattr(options, name) for name in OPTIONS}
    shown = {
        name: value if isinstance(value, (int, float, str)) else str(value)
        for name, value in found.items()
        if value != _DEFAULTS[name]
    }
    if options.unique is not None:
        shown["unique"] = True
    return shown


def _queue(consumer: QueueConsumer) -> ConsumedQueue:
    return ConsumedQueue(
        name=consumer.queue,
        consuming=consumer.intake.consuming,
        concurrency=consumer.concurrency,
        prefetch=consumer.prefetch,
        running=consumer.running,
        waiting=sum(1 for job in consumer.jobs if not job.started and job.outcome is None),
    )


def _runs(job: Job) -> bool:
    return job.started and job.outcome is None


def held_task(job: Job) -> HeldTask:
    """Describe a delivery that the worker holds, without its arguments."""
    message = job.message
    return HeldTask(
        id=(job.correlation_id or "")[:255] if message is None else message.id,
        task=(job.type or "")[:255] if message is None else message.task,
        queue=job.queue,
        attempt=job.attempt,
        seconds=round(time.monotonic() - job.begun, 3) if job.started else 0.0,
    )
