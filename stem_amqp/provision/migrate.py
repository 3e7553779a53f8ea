"""Replaces a work queue by its next version, under load, without losing a message.

Nothing is kept but what is on the broker: started again after whatever broke, it goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from stem_amqp.errors import BrokerError, ManagementError, MigrationTimeoutError
from stem_amqp.management import Management
from stem_amqp.provision.change import policies_refused, put_policy, remove_policy
from stem_amqp.provision.drain import STATISTICS_AGE, Content, carry_over, content
from stem_amqp.provision.inventory import bindings_of
from stem_amqp.provision.migration import Migration
from stem_amqp.provision.switch import Overlap, switch
from stem_amqp.topology.entities import Binding, Entities, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")
POLL = 0.5
"""Seconds between two looks."""
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What became of a migration.

    Args:
        queue: the logical queue.
        earlier: the names of the earlier versions.
        name: the name of the new one.
        resumed: whether it went on with what an earlier run had begun.
        overlap: seconds in which a new binding and its old one were both there, at most.
        copies: the ids of the tasks that may be in both queues.
        moved: messages that were moved here, because nobody consumed them.
        left: why an earlier version is still there, or an empty text.
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
    """Carries migrations out.

    Args:
        transport: connected.
        management: the management API, or None where it does not answer.
        names: the names in the namespace.
        tell: called with what is done, and how far it is.
        timeout: seconds to wait for a consumer, and for the earlier versions to be empty.
        without_consumers: do not wait for workers that consume the new version.
    """

    def __init__(
        self,
        transport: Transport,
        management: Management | None,
        names: Names,
        *,
        tell: Tell,
        timeout: float,
        without_consumers: bool = False,
    ) -> None:
        self._transport = transport
        self._management = management
        self._names = names
        self._tell = tell
        self._timeout = timeout
        self._without_consumers = without_consumers

    async def migrate(self, migration: Migration) -> Account:
        """Do what is left to do.

        Args:
            migration: from `find_migrations`.

        Raises:
            MigrationTimeoutError: no worker consumes the new version, or the earlier ones are not
                empty in time. Nothing is lost; start it again.
            TopologyMismatchError: the new version is there, with other arguments.
            ManagementError: there are policies to set, and no management API that does it.
            BrokerError: the broker cannot be reached, or refuses.
        """
        new = migration.new.name
        await self._set_policies(migration)
        await self._transport.declare(Entities(queues=(migration.new,)))
        self._tell(f"{new} is declared")
        switched = await self._is_bound(new)
        if switched:
            self._tell(f"{new} has bindings already: going on with what was begun")
        elif not self._without_consumers and not migration.new.dead:
            await self._wait_for_consumer(migration)
        overlap = await self._switch(migration)
        moved, left = 0, ""
        for name in migration.earlier.values():
            carried, why = await self._drain(migration, name)
            moved += carried
            left = left or why
        return Account(
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
        """Set what the new version lives by, before it is there: it never runs without."""
        if not migration.policies:
            return
        if self._management is None:
            raise policies_refused()
        for policy in migration.policies:
            await put_policy(self._management, policy)
        self._tell(f"the policies of {migration.new.name} are set")

    async def _wait_for_consumer(self, migration: Migration) -> None:
        new = migration.new.name

        async def consumed() -> bool:
            status = (await self._transport.status([new]))[new]
            return status is not None and status.consumers > 0

        if not await consumed():
            self._tell(f"waiting for a worker with version {migration.new.version} in its topology")
        await self._until(
            consumed,
            lambda: (
                f"no worker consumes {new}: nothing is switched over\n"
                f"  Start workers with the new topology file, then migrate again; or add"
                f" --without-consumers if tasks may wait in {new}."
            ),
        )

    async def _switch(self, migration: Migration) -> Overlap:
        new = migration.new.name
        due = await self._due(migration)
        if not due:
            self._tell(f"nothing is bound to {migration.names} any more")
            return Overlap(seconds=0.0, tasks=())
        there = await self._bindings_of(new)
        if any(_contains(there, binding) for binding in due):
            self._tell(
                f"{new} and {migration.names} were both bound: tasks that came since then are in both"
            )
        overlap = await switch(self._transport, migration, due, self._names)
        bindings = "1 binding" if len(due) == 1 else f"{len(due)} bindings"
        self._tell(
            f"switched {bindings} to {new}: at most {len(overlap.tasks)} tasks are in both queues"
        )
        return overlap

    async def _drain(self, migration: Migration, name: str) -> tuple[int, str]:
        """Wait until an earlier version is empty, and delete it; return what was moved, and why not."""
        loop = asyncio.get_running_loop()
        unbound, moved, told = loop.time(), 0, ""
        latest: Content | None = None

        async def empty() -> bool:
            nonlocal moved, told, latest, unbound
            if await self._unbind(migration, name):
                unbound = loop.time()
            latest = await content(self._transport, self._management, name)
            if latest is None:
                return True
            if latest.ready and not latest.consumers:
                moved += await carry_over(
                    self._transport, name, migration.new.name, deaths=migration.new.dead
                )
            if str(latest) != told:
                told = str(latest)
                sure = "; making sure that it is" if not latest.total and self._management else ""
                self._tell(f"{name}: {told}{sure}")
            young = self._management is not None and loop.time() - unbound < STATISTICS_AGE
            return not latest.total and not young and (latest.known or self._management is None)

        await self._until(
            empty,
            lambda: (
                f"{name} is not empty yet: {latest}\n"
                "  Its workers go on with it. Migrate again, and this goes on from here."
            ),
        )
        if moved:
            self._tell(f"moved {moved} messages from {name}, which nobody consumed")
        if latest is None:
            return moved, ""
        if not latest.known:
            return moved, (
                f"{name} has nothing ready and no bindings, but without the management API nobody"
                " knows whether workers still have tasks of it"
            )
        await self._transport.delete(Entities(queues=(Queue(name=name),)))
        policy = migration.own_policy(name)
        if policy is not None and self._management is not None:
            await remove_policy(self._management, policy)
        self._tell(f"{name} was empty and is deleted")
        return moved, ""

    async def _unbind(self, migration: Migration, name: str) -> bool:
        """Take away what binds an earlier version again; return whether anything did.

        A process with the earlier topology may have looked before the new version was there, and bound
        after it.
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
        """Return what the new version has to get: the topology's, and what others have bound."""
        if self._management is None:
            return list(migration.bindings)
        there = await self._bindings_of(migration.new.name)
        due = [new for new in migration.bindings if not _contains(there, new)]
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
