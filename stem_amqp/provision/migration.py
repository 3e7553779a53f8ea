"""What there is to migrate: queues whose next version is in the topology, read from the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from stem_amqp.errors import ConfigurationError, TopologyMismatchError, TopologyMissingError
from stem_amqp.management import Management
from stem_amqp.provision.inventory import find_policies
from stem_amqp.topology.entities import Binding, Entities, Policy, Queue
from stem_amqp.topology.names import earlier_versions
from stem_amqp.topology.policies import applied, effective, exactly
from stem_amqp.transport.base import Transport


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """One logical queue on its way from earlier versions to the one in the topology.

    Args:
        queue: the logical queue.
        new: the work queue as the topology wants it.
        earlier: the earlier versions that are on the broker, by version, with their names.
        bindings: those that the topology wants of the new one.
        policies: the topology's that RabbitMQ applies to the new one. They have to stand first: a queue
            is without dead-lettering and limits until they do.
    """

    queue: str
    new: Queue
    earlier: Mapping[int, str]
    bindings: tuple[Binding, ...]
    policies: tuple[Policy, ...] = ()

    def from_earlier(self, binding: Binding) -> list[Binding]:
        """Return what a binding of the new queue was with each earlier version."""
        return [replace(binding, destination=name) for name in self.earlier.values()]

    def own_policy(self, name: str) -> Policy | None:
        """Return the policy that holds the settings of an earlier version, as it was generated."""
        return next(
            (
                replace(policy, name=name, pattern=exactly(name))
                for policy in self.policies
                if policy.name == self.new.name and policy.pattern == exactly(self.new.name)
            ),
            None,
        )

    @property
    def names(self) -> str:
        """The earlier versions, for messages."""
        return " and ".join(self.earlier.values())


async def find_migrations(
    transport: Transport, entities: Entities, queues: Iterable[str] = ()
) -> list[Migration]:
    """Find the queues that have an earlier version on the broker.

    Args:
        transport: connected.
        entities: the compiled topology.
        queues: logical queues; none for all.

    Raises:
        ConfigurationError: a queue differs on the broker, and has no new version in the file.
        TopologyMissingError: a queue that was asked for is not on the broker.
        BrokerError: the broker cannot be reached, or refuses.
    """
    asked = set(queues)
    works = [q for q in entities.queues if q.version and (not asked or q.logical in asked)]
    earlier = {work.name: earlier_versions(work.name, work.version) for work in works}
    status = await transport.status(
        [name for work in works for name in (work.name, *earlier[work.name].values())]
    )
    found: list[Migration] = []
    unversioned: list[str] = []
    for work in works:
        before = {v: name for v, name in earlier[work.name].items() if status[name] is not None}
        if before:
            bindings = tuple(
                b for b in entities.bindings if not b.to_exchange and b.destination == work.name
            )
            kind = str(work.arguments.get("x-queue-type", "classic"))
            found.append(
                Migration(
                    queue=work.logical or "",
                    new=work,
                    earlier=before,
                    bindings=bindings,
                    policies=applied(entities.policies, work.name, kind),
                )
            )
        elif status[work.name] is None and work.logical in asked:
            raise TopologyMissingError(
                f"{work.title} is not on the broker: there is nothing to migrate\n"
                "  Declare it: stem-amqp topology apply"
            )
        elif status[work.name] is not None:
            unversioned += await _difference(transport, work)
    if unversioned:
        raise ConfigurationError(
            "RabbitMQ cannot change a queue's arguments, and the topology file has no new version for"
            " what differs:\n" + "\n".join(unversioned)
        )
    return found


async def _difference(transport: Transport, work: Queue) -> list[str]:
    """Return what to write into the file for a queue that is there with other arguments."""
    try:
        await transport.declare(Entities(queues=(work,)))
    except TopologyMismatchError as error:
        version = f"{{version: {work.version + 1}}}"
        line = f"{{dead_letter: {version}}}" if work.dead else version
        return [
            f"  {str(error).partition(chr(10))[0]}",
            f"    Write, beside what the queue has already: queues: {{{work.logical}: {line}}}",
        ]
    return []


async def differences(management: Management | None, migration: Migration) -> list[str]:
    """Return what is different in the new version, one setting a line; nothing if nobody tells.

    A setting counts that is in force, whether an argument or a policy makes it.

    Args:
        management: who knows the earlier versions' arguments.
        migration: the migration.

    Raises:
        ManagementError: it does not answer any more.
    """
    if management is None:
        return []
    standing = await find_policies(management)
    both = {(policy.operator, policy.name): policy for policy in (*standing, *migration.policies)}
    wanted = effective(migration.new, both.values())
    lines: list[str] = []
    for name in migration.earlier.values():
        found = await management.get("queues", management.virtual_host, name)
        arguments = {"x-queue-type": found.get("type", "classic")} | dict(found["arguments"])
        current = effective(Queue(name=name, arguments=arguments), standing)
        lines += [
            f"{name} {key}: {current.get(key, 'not set')} → {wanted.get(key, 'not set')}"
            for key in sorted({*current, *wanted})
            if current.get(key) != wanted.get(key)
        ]
    return lines
