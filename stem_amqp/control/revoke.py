"""Revoke tasks without waiting for the answers of workers."""

from __future__ import annotations

from typing import Protocol

from typing_extensions import Unpack

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeAllKeywords, RevokeKeywords, of_all, of_id


class Application(Protocol):
    """An application, as far as it is used here."""

    async def revoke(self, task_id: str, **options: Unpack[RevokeKeywords]) -> Issued:
        """Prevent that a task runs, or runs again."""
        ...


async def revoke(
    app: Application, task_id: str, *, reason: str = "revoked", terminate: bool = False
) -> None:
    """Prevent that a task runs, or runs again; the same as `Stem.revoke`.

    Args:
        app: the application, connected.
        task_id: the task's id.
        reason: why, for logs, signals and states.
        terminate: whether to end the task also while it runs.

    Raises:
        StemError: as for `Stem.revoke`.
    """
    await app.revoke(task_id, reason=reason, terminate=terminate)


async def revoke_one(
    blueprint: Blueprint, connected: Connected, task_id: str, **options: Unpack[RevokeKeywords]
) -> Issued:
    """Revoke one task; see `Stem.revoke`.

    Args:
        blueprint: the application.
        connected: its connections.
        task_id: the task's id.
        **options: see `stem_amqp.directives.revocation.RevokeKeywords`.

    Raises:
        StemError: as for `Stem.revoke`.
    """
    lifetime = blueprint.settings.revocation_lifetime
    directive = of_id(task_id, connected.transport.clock, lifetime, **options)
    return await connected.desk(blueprint).issue(directive)


async def revoke_matching(
    blueprint: Blueprint, connected: Connected, **options: Unpack[RevokeAllKeywords]
) -> Issued:
    """Revoke all tasks that match; see `Stem.revoke_all`.

    Args:
        blueprint: the application.
        connected: its connections.
        **options: see `stem_amqp.directives.revocation.RevokeAllKeywords`.

    Raises:
        StemError: as for `Stem.revoke_all`.
    """
    lifetime = blueprint.settings.revocation_lifetime
    directive = of_all(connected.transport.clock, lifetime, **options)
    return await connected.desk(blueprint).issue(directive)
