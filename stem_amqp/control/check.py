"""Refuse commands for queues and workers that do not exist; they are probably misspelt."""

from __future__ import annotations

from fnmatch import fnmatchcase

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.control.gather import Gathering
from stem_amqp.control.keywords import To
from stem_amqp.errors import BrokerRefusedError, ConfigurationError
from stem_amqp.observability.registry.listing import ANSWER
from stem_amqp.text import count
from stem_amqp.topology.spec.mistake import did_you_mean

_SHOWN = 8
"""The most names in an error."""


async def check_queues(blueprint: Blueprint, connected: Connected, queues: tuple[str, ...]) -> None:
    """Refuse queues that neither the application nor the broker has.

    Args:
        blueprint: the application.
        connected: its connections.
        queues: logical queues.

    Raises:
        ConfigurationError: one of them does not exist.
    """
    unsure = [queue for queue in queues if queue not in blueprint.queues]
    works = {queue: tuple(blueprint.names.works(queue, 1).values()) for queue in unsure}
    try:
        status = await connected.transport.status(name for one in works.values() for name in one)
    except BrokerRefusedError:
        return  # from RabbitMQ 4.3 on, a user needs a permission for each queue
    for queue, names in works.items():
        if all(status[name] is None for name in names):
            raise ConfigurationError(
                f"there is no queue {queue!r} in the namespace {blueprint.names.namespace!r}"
                f"{did_you_mean(queue, blueprint.queues)}\n"
                f"  Known queues: {', '.join(blueprint.queues[:_SHOWN])}. Check --namespace and the"
                " virtual host of STEM_BROKER_URL"
            )


async def check_workers(to: To, found: Gathering) -> None:
    """Refuse globs that match no worker, if there are others.

    A worker whose event loop is blocked does not answer at once: while there are consumers whose worker
    is not known, its heartbeat is waited for.

    Args:
        to: who is meant.
        found: the workers that are known.

    Raises:
        ConfigurationError: a glob matches no worker.
    """
    if not to.workers:
        return

    def matched() -> bool:
        return not _unmatched(to, found)

    def decided() -> bool:
        return matched() or not found.silent(found.consumers)

    if not await found.until(matched, min(ANSWER, to.timeout)):
        await found.until(decided, max(0.0, to.timeout - ANSWER))
    names = sorted({seen.heartbeat.name for seen in found.workers})
    if not names:
        return
    for glob in _unmatched(to, found):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ConfigurationError(
            f"no worker is named {glob!r}{did_you_mean(glob, names)}\n"
            f"  There {'is' if len(names) == 1 else 'are'} {count(len(names), 'worker')}:"
            f" {', '.join(names[:_SHOWN])}{more}. List them: stem-amqp workers"
        )


def _unmatched(to: To, found: Gathering) -> list[str]:
    names = {seen.heartbeat.name for seen in found.workers}
    return [glob for glob in to.workers if not any(fnmatchcase(name, glob) for name in names)]
