"""Replace a work queue with its next version, under load, without losing a message.

The broker holds all state, so a migration that was interrupted continues when it is started again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from stem_amqp.errors import BrokerError, ManagementError, MigrationTimeoutError
from stem_amqp.management import Management
from stem_amqp.provision.change import policies_need_management, put_policy, remove_policy
from stem_amqp.provision.drain import STATISTICS_AGE, Content, content, move_messages
from stem_amqp.provision.inventory import bindings_of
from stem_amqp.provision.migration import Migration
from stem_amqp.provision.switch import Overlap, switch
from stem_amqp.topology.entities import Binding, Entities, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")
POLL = 0.5
"""Seconds between two polls."""
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrationReport:
    """The result of a migration.

    Args:
        queue: the logical queue.
        earlier: the names of the earlier versions.
        name: the name of the new version.
        resumed: whether it continued an interrupted migration.
        overlap: maximum seconds for which a new binding and its old one both existed.
        copies: the ids of the tasks that may be in both queues.
        moved: the number of messages that were moved, because no worker consumed them.
        left: why an earlier version still exists, or an empty string.
    """

    queue: str
    earlier: tuple[str, ...]
    name: str
    resumed: bool
    overlap: float
    copies: tuple[str, ...]
    moved: int
    left: str = ""


class Migrator:
    """Runs migrations.

    Args:
        transport: connected.
        management: the management API, or None if it does not answer.
        names: the names in the namespace.
        report: called with each step and its progress.
        timeout: seconds to wait for a consumer, and for the earlier versions to be empty.
        without_consumers: whether to skip the wait for workers that consume the new version.
    """

    def __init__(
        self,
        transport: Transport,
        management: Management | None,
        names: Names,
        *,
        report: Report,
        timeout: float,
        without_consumers: bool = False,
    ) -> None:
        self._transport = transport
        self._management = management
        self._names = names
        self._report = report
        self._timeout = timeout
        self._without_consumers = without_consumers

    async def migrate(self, migration: Migration) -> MigrationReport:
        """Run a migration, or the rest of an interrupted one.

        Args:
            migration: from `find_migrations`.

        Raises:
            MigrationTimeoutError: no worker consumes the new version, or the earlier ones are not
                empty in time. Nothing is lost; start it again.
            TopologyMismatchError: the new version exists with other arguments.
            ManagementError: policies must be set, and the management API cannot be used.
            BrokerError: the broker cannot be reached, or refuses access.
        """
        new = migration.new.name
        await self._set_policies(migration)
        await self._transport.declare(Entities(queues=(migration.new,)))
        self._report(f"{new} is declared")
        switched = await self._is_bound(new)
        if switched:
            self._report(f"{new} has bindings already: continuing the migration")
        elif not self._without_consumers and not migration.new.dead:
            await self._wait_for_consumer(migration)
        overlap = await self._switch(migration)
        moved, left = 0, ""
        for name in migration.earlier.values():
            moved_here, why = await self._drain(migration, name)
            moved += moved_here
            left = left or why
        return MigrationReport(
            queue=migration.queue,
            earlier=tuple(migration.earlier.values()),
            name=new,
            resumed=switched,
            overlap=overlap.seconds,
            copies=overlap.tasks,
            moved=moved,
            left=left,
        )

    async def _set_policies(self, migration: Migration) -> None:
        """Set the policies of the new version before it is declared, so that it always has them."""
        if not migration.policies:
            return
        if self._management is None:
            raise policies_need_management()
        for policy in migration.policies:
            await put_policy(self._management, policy)
        self._report(f"the policies of {migration.new.name} are set")

    async def _wait_for_consumer(self, migration: Migration) -> None:
        new = migration.new.name

        async def consumed() -> bool:
            status = (await self._transport.status([new]))[new]
            return status is not None and status.consumers > 0

        if not await consumed():
            self._report(
                f"waiting for a worker with version {migration.new.version} in its topology"
            )
        await self._until(
            consumed,
            lambda: (
                f"no worker consumes {new}: no bindings were switched\n"
                f"  Start workers with the new topology file, then migrate again; or add"
                f" --without-consumers if tasks may wait in {new}."
            ),
        )

    async def _switch(self, migration: Migration) -> Overlap:
        new = migration.new.name
        due = await self._due(migration)
        if not due:
            self._report(f"{migration.names} has no bindings any more")
            return Overlap(seconds=0.0, tasks=())
        existing = await self._bindings_of(new)
        if any(_contains(existing, binding) for binding in due):
            self._report(
                f"{new} and {migration.names} were both bound: tasks that arrived since then are in both"
            )
        overlap = await switch(self._transport, migration, due, self._names)
        bindings = "1 binding" if len(due) == 1 else f"{len(due)} bindings"
        self._report(
            f"switched {bindings} to {new}: at most {len(overlap.tasks)} tasks are in both queues"
        )
        return overlap

    async def _drain(self, migration: Migration, name: str) -> tuple[int, str]:
        """Wait until an earlier version is empty, and delete it.

        Returns:
            The number of moved messages, and why the version was kept, or an empty string.
        """
        loop = asyncio.get_running_loop()
        unbound, moved, reported = loop.time(), 0, ""
        latest: Content | None = None

        async def empty() -> bool:
            nonlocal moved, reported, latest, unbound
            if await self._unbind(migration, name):
                unbound = loop.time()
            latest = await content(self._transport, self._management, name)
            if latest is None:
                return True
            if latest.ready and not latest.consumers:
                moved += await move_messages(
                    self._transport, name, migration.new.name, deaths=migration.new.dead
                )
            if str(latest) != reported:
                reported = str(latest)
                sure = (
                    "; waiting for newer statistics"
                    if not latest.total and self._management
                    else ""
                )
                self._report(f"{name}: {reported}{sure}")
            young = self._management is not None and loop.time() - unbound < STATISTICS_AGE
            return not latest.total and not young and (latest.known or self._management is None)

        await self._until(
            empty,
            lambda: (
                f"{name} is not empty yet: {latest}\n"
                "  Its workers continue to consume it. Run migrate again to continue from here."
            ),
        )
        if moved:
            self._report(f"moved {moved} messages from {name}, which no worker consumed")
        if latest is None:
            return moved, ""
        if not latest.known:
            return moved, (
                f"{name} has no ready messages and no bindings, but without the management API it is"
                " not known whether workers still run tasks of it"
            )
        await self._transport.delete(Entities(queues=(Queue(name=name),)))
        policy = migration.own_policy(name)
        if policy is not None and self._management is not None:
            await remove_policy(self._management, policy)
        self._report(f"{name} was empty and is deleted")
        return moved, ""

    async def _unbind(self, migration: Migration, name: str) -> bool:
        """Move new bindings of an earlier version to the new one; return whether there were any.

        A process with the earlier topology may have checked the versions before the new one was
        declared, and bound its queue after that.
        """
        if self._management is None:
            olds = [b for new in migration.bindings for b in migration.from_earlier(new)]
            await self._transport.rebind((), olds)
            return False
        found = await self._bindings_of(name)
        for old in found:
            new = replace(old, destination=migration.new.name)
            await self._transport.rebind((new,), (old,))
        return bool(found)

    async def _due(self, migration: Migration) -> list[Binding]:
        """Return the bindings that the new version needs: the topology's, and foreign ones."""
        if self._management is None:
            return list(migration.bindings)
        existing = await self._bindings_of(migration.new.name)
        due = [new for new in migration.bindings if not _contains(existing, new)]
        for name in migration.earlier.values():
            for old in await self._bindings_of(name):
                new = replace(old, destination=migration.new.name)
                if not _contains(due, new):
                    due.append(new)
        return due

    async def _is_bound(self, name: str) -> bool:
        return bool(await self._bindings_of(name))

    async def _bindings_of(self, name: str) -> list[Binding]:
        if self._management is None:
            return []
        try:
            return await bindings_of(self._management, "queues", name)
        except ManagementError as error:
            if (await self._transport.status([name]))[name] is None:
                return []
            raise BrokerError(str(error)) from error

    async def _until(self, holds: Callable[[], Awaitable[bool]], why: Callable[[], str]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while not await holds():
            if loop.time() > deadline:
                raise MigrationTimeoutError(why())
            await asyncio.sleep(POLL)


def _contains(bindings: list[Binding], wanted: Binding) -> bool:
    return any(
        (one.source, one.key, dict(one.arguments))
        == (wanted.source, wanted.key, dict(wanted.arguments))
        for one in bindings
    )
