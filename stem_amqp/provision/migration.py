"""Find the queues to migrate: an earlier version is on the broker, a newer one in the topology."""

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
    """The migration of one logical queue from earlier versions to the one in the topology.

    Args:
        queue: the logical queue.
        new: the work queue of the topology.
        earlier: the names of the earlier versions on the broker, by version.
        bindings: the bindings of the new queue in the topology.
        policies: the policies of the topology that apply to the new queue. They must be set first:
            the queue has no dead-lettering and no limits without them.
    """

    queue: str
    new: Queue
    earlier: Mapping[int, str]
    bindings: tuple[Binding, ...]
    policies: tuple[Policy, ...] = ()

    def from_earlier(self, binding: Binding) -> list[Binding]:
        """Return the equivalent of a binding of the new queue for each earlier version."""
        return [replace(binding, destination=name) for name in self.earlier.values()]

    def own_policy(self, name: str) -> Policy | None:
        """Return the generated policy with the settings of an earlier version, or None."""
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
    """Find the queues with an earlier version on the broker.

    Args:
        transport: connected.
        entities: the compiled topology.
        queues: logical queues; empty for all.

    Raises:
        ConfigurationError: a queue differs on the broker, and has no new version in the file.
        TopologyMissingError: a given queue is not on the broker.
        BrokerError: the broker cannot be reached, or refuses access.
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
    """Return the change to the file for a queue that exists with other arguments."""
    try:
        await transport.declare(Entities(queues=(work,)))
    except TopologyMismatchError as error:
        version = f"{{version: {work.version + 1}}}"
        line = f"{{dead_letter: {version}}}" if work.dead else version
        return [
            f"  {str(error).partition(chr(10))[0]}",
            f"    Add to the settings of the queue: queues: {{{work.logical}: {line}}}",
        ]
    return []


async def differences(management: Management | None, migration: Migration) -> list[str]:
    """Return the differences of the new version, one setting per line; empty without management.

    It compares the settings in force, whether they come from an argument or a policy.

    Args:
        management: the management API, which has the arguments of the earlier versions.
        migration: the migration.

    Raises:
        ManagementError: it does not answer.
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
