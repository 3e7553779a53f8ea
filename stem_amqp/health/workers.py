"""Collect status reports from all workers of a namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from stem_amqp.app import Stem
from stem_amqp.observability.registry.heartbeat import Heartbeat
from stem_amqp.observability.registry.watch import watch_workers
from stem_amqp.signing.source import seal_from
from stem_amqp.transport.base import Transport


async def ask_workers(app: Stem, transport: Transport, *, wait: float) -> list[Heartbeat]:
    """Return the answers that workers send within some time.

    A worker with a blocked event loop cannot answer.

    Args:
        app: the application.
        transport: connected.
        wait: seconds to wait for answers.

    Raises:
        BrokerError: the queue for answers cannot be declared, or the command cannot be published.
    """
    seal = seal_from(app.settings, app.keys)
    async with watch_workers(transport, app.names, seal=seal, heartbeats=False) as watch:
        if await watch.ask():
            await asyncio.sleep(wait)
        return [seen.heartbeat for seen in watch.workers]


def without_threads(answers: Iterable[Heartbeat]) -> list[str]:
    """Return the names of the workers that have no thread left for synchronous tasks."""
    return sorted(answer.name for answer in answers if answer.threads_used_up)


def with_failures(answers: Iterable[Heartbeat]) -> list[str]:
    """Return the workers whose own code failed on messages, each with how many there were."""
    return sorted(
        f"{answer.name} {answer.worker_failures}" for answer in answers if answer.worker_failures
    )


def different_stores(answers: Iterable[Heartbeat]) -> str:
    """Return which workers have another result backend than others, as text; empty if all share one."""
    by_store: dict[str, list[str]] = {}
    for answer in answers:
        if answer.store:
            by_store.setdefault(answer.store, []).append(answer.name)
    if len(by_store) <= 1:
        return ""
    parts = sorted(", ".join(sorted(names)) for names in by_store.values())
    return (
        f"the workers use {len(parts)} different result backends, so that limits, pauses, unique tasks and results"
        f" are separate: {' | '.join(parts)}\n  Give all processes of the namespace the same STEM_BACKEND_URL."
    )
