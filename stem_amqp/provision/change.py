"""Carries a plan out: creates what is missing, changes what can be changed, removes what is left over."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from stem_amqp.errors import ManagementError, TopologyMismatchError
from stem_amqp.management import ENABLE, Management
from stem_amqp.provision.inventory import FoundQueue, bindings_of, find_policies, find_queue
from stem_amqp.provision.plan import Plan, Step
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")


async def carry_out(
    plan: Plan, entities: Entities, transport: Transport, management: Management | None
) -> None:
    """Create what is missing and change what can be changed in place.

    Policies come first, so that no queue is without its settings; then exchanges, queues and last the
    bindings, so that nothing is routed to what does not stand yet. Ten at a time may do it: each step
    says what is to be, and says it again without harm.

    Args:
        plan: the plan, in which nothing is blocked.
        entities: the compiled topology.
        transport: connected.
        management: the management API, which policies need.

    Raises:
        TopologyMismatchError: something is there with other arguments.
        ManagementError: a policy cannot be set.
        BrokerError: the broker cannot be reached, or refuses.
    """
    refuse_blocked(plan)
    if management is not None:
        for step in (*plan.create, *plan.change):
            if isinstance(step.entity, Policy):
                await put_policy(management, step.entity)
    await transport.declare(entities)


def refuse_blocked(plan: Plan) -> None:
    """Refuse a plan with differences that cannot be changed in place.

    Raises:
        TopologyMismatchError: there are some; the message has each with its remedy.
    """
    if plan.blocked:
        raise TopologyMismatchError(
            "\n".join(
                ["the broker has what the topology wants, but otherwise:", *told(plan.blocked)]
            )
        )


def told(steps: Iterable[Step]) -> list[str]:
    """Write what differs, and what to do about it, some lines for each."""
    lines: list[str] = []
    for step in steps:
        lines.append(f"  {step.kind} {step.name}: {'; '.join(changes(step))}")
        lines += [f"    {line}" for line in step.remedy.splitlines()]
    return lines


def changes(step: Step) -> list[str]:
    """Write what differs, one text for each value."""
    return [f"{one.key} is {one.current}, wanted {one.wanted}" for one in step.details]


def unable(what: str, reason: object) -> ManagementError:
    """Return the error of something that only the management API can do.

    Args:
        what: what was to be done, and what it takes the API for.
        reason: why the API does not do it, with the remedy.
    """
    return ManagementError(f"{what}: nothing was done\n  {reason}")


def policies_refused(reason: object = ENABLE) -> ManagementError:
    """Return the error of having policies to set, and no management API to do it.

    Args:
        reason: why it does not, with the remedy.
    """
    return unable("the topology has policies, which only the management API can set", reason)


async def put_policy(management: Management, policy: Policy) -> None:
    """Set a policy; setting it again changes nothing.

    Raises:
        ManagementError: the user may not, or the broker refuses its definition.
    """
    await management.put(
        *_place(management, policy),
        content={
            "pattern": policy.pattern,
            "apply-to": policy.apply_to,
            "definition": dict(policy.definition),
            "priority": policy.priority,
        },
    )


async def remove_policy(management: Management, policy: Policy) -> None:
    """Delete a policy, if it stands there as it is given.

    Raises:
        ManagementError: the user may not.
    """
    there = await find_policies(management)
    if any(
        (one.name, one.pattern, one.operator) == (policy.name, policy.pattern, policy.operator)
        for one in there
    ):
        await management.delete(*_place(management, policy))


def _place(management: Management, policy: Policy) -> tuple[str, str, str]:
    kind = "operator-policies" if policy.operator else "policies"
    return kind, management.virtual_host, policy.name


async def prune(
    steps: Iterable[Step], transport: Transport, management: Management
) -> list[tuple[Step, str]]:
    """Remove what nobody declares, if nothing uses it and nothing is in it.

    Bindings go first; then each queue is looked at again, because a quorum queue cannot be asked to go
    only if it is empty; then exchanges, only those that no binding leads to or from; policies go last,
    and not those of a queue that is left.

    Args:
        steps: what nobody declares; see `Plan.undeclared`.
        transport: connected.
        management: the management API.

    Returns:
        What was left, each with the reason.

    Raises:
        ManagementError: the management API does not answer, or refuses.
        BrokerError: the broker cannot be reached, or refuses.
    """
    left: list[tuple[Step, str]] = []
    bindings = [step.entity for step in steps if isinstance(step.entity, Binding)]
    await transport.rebind([], bindings)
    for step in steps:
        if isinstance(step.entity, Queue):
            why = await _remove_queue(step.entity, transport, management)
            if why:
                left.append((step, why))
    for step in steps:
        if isinstance(step.entity, Exchange):
            why = await _remove_exchange(step.entity, transport, management)
            if why:
                left.append((step, why))
    names = [step.name for step, _ in left if step.kind == "queue"]
    for step in steps:
        if isinstance(step.entity, Policy):
            kept = [name for name in names if re.search(step.entity.pattern, name)]
            if kept:
                left.append((step, f"the queue {kept[0]}, which is left, lives by it"))
                continue
            await management.delete(*_place(management, step.entity))
    return left


async def _remove_queue(queue: Queue, transport: Transport, management: Management) -> str:
    found = await find_queue(management, queue.name)
    if found is None:
        return ""
    if why := await _held(found, transport):
        return why
    into = await bindings_of(management, "queues", queue.name)
    await transport.rebind([], into)
    # what came in before the bindings went: only now can nothing more come
    found = await find_queue(management, queue.name)
    if found is not None and (why := await _held(found, transport)):
        await transport.rebind(into, [])
        return why
    await transport.delete(Entities(queues=(queue,)))
    log.info("queue %s is deleted: nobody declares it", queue.name)
    return ""


async def _held(found: FoundQueue, transport: Transport) -> str:
    """Return why a queue must not be deleted, or nothing.

    The management API's numbers are some seconds old: what is ready, the broker itself is asked for.
    """
    status = (await transport.status([found.name]))[found.name]
    if status is not None and status.ready:
        return f"there are {status.ready} messages in it"
    if status is not None and status.consumers:
        return f"{status.consumers} consumers use it"
    return _in_use(found)


def _in_use(found: FoundQueue) -> str:
    """Return why a queue must not be deleted, or nothing."""
    if found.messages is None:
        return "its statistics are not there yet"
    if found.messages or found.unsettled or found.dead_lettering:
        return f"there are {found.messages + found.dead_lettering} messages in it"
    if found.consumers:
        return f"{found.consumers} consumers use it"
    return ""


async def _remove_exchange(exchange: Exchange, transport: Transport, management: Management) -> str:
    there = await management.listing("exchanges", exchange.name, "name")
    if not any(one["name"] == exchange.name for one in there):
        return ""
    for end in ("source", "destination"):
        if await bindings_of(management, "exchanges", exchange.name, end):
            return "there are bindings to or from it"
    await transport.delete(Entities(exchanges=(exchange,)))
    log.info("exchange %s is deleted: nobody declares it", exchange.name)
    return ""
