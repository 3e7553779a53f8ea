"""Carry out a plan: create what is missing, change what can be changed, prune what is undeclared."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from stem_amqp.errors import ManagementError, TopologyMismatchError
from stem_amqp.management import ENABLE, Management
from stem_amqp.provision.inventory import FoundQueue, bindings_of, find_policies, find_queue
from stem_amqp.provision.plan import Plan
from stem_amqp.provision.step import Step
from stem_amqp.text import count
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.policies import fits_name
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")


async def apply_plan(
    plan: Plan, entities: Entities, transport: Transport, management: Management | None
) -> None:
    """Create what is missing and change what can be changed in place.

    Policies are set first, so that no queue is without its settings; then exchanges, queues and
    bindings are declared, so that no message is routed to a missing entity. Each step is idempotent,
    so several processes may run at the same time.

    Args:
        plan: the plan, without blocked steps.
        entities: the compiled topology.
        transport: connected.
        management: the management API, which policies need.

    Raises:
        TopologyMismatchError: an entity exists with other arguments.
        ManagementError: a policy cannot be set.
        BrokerError: the broker cannot be reached, or refuses access.
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
                [
                    "entities on the broker differ from the topology:",
                    *describe_steps(plan.blocked),
                ]
            )
        )


def describe_steps(steps: Iterable[Step]) -> list[str]:
    """Return the differences with their remedies, several lines for each step."""
    lines: list[str] = []
    for step in steps:
        lines.append(f"  {step.kind} {step.name}: {'; '.join(describe_changes(step))}")
        lines += [f"    {line}" for line in step.remedy.splitlines()]
    return lines


def describe_changes(step: Step) -> list[str]:
    """Return the differences of a step, one string for each value."""
    return [f"{one.key} is {one.current}, wanted {one.wanted}" for one in step.details]


def management_needed(what: str, reason: object) -> ManagementError:
    """Return the error of an operation that needs the management API.

    Args:
        what: the operation, and why it needs the API.
        reason: why the API cannot be used, with the remedy.
    """
    return ManagementError(f"{what}: nothing was done\n  {reason}")


def policies_need_management(reason: object = ENABLE) -> ManagementError:
    """Return the error of a topology with policies, without a management API to set them.

    Args:
        reason: why the API cannot be used, with the remedy.
    """
    return management_needed(
        "the topology has policies, which only the management API can set", reason
    )


async def put_policy(management: Management, policy: Policy) -> None:
    """Create or replace a policy.

    Raises:
        ManagementError: the user has no permission, or the broker refuses the definition.
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
    """Delete a policy, if it exists with the same pattern.

    Raises:
        ManagementError: the user has no permission.
    """
    existing = await find_policies(management)
    if any(
        (one.name, one.pattern, one.operator) == (policy.name, policy.pattern, policy.operator)
        for one in existing
    ):
        await management.delete(*_place(management, policy))


def _place(management: Management, policy: Policy) -> tuple[str, str, str]:
    kind = "operator-policies" if policy.operator else "policies"
    return kind, management.virtual_host, policy.name


async def prune(
    steps: Iterable[Step], transport: Transport, management: Management
) -> list[tuple[Step, str]]:
    """Delete undeclared entities that are unused and empty.

    Bindings are deleted first. Then each queue is checked again, because RabbitMQ cannot delete a
    quorum queue conditionally (``if-empty``); then exchanges without bindings are deleted; policies
    come last, except those of a queue that is kept.

    Args:
        steps: the undeclared entities; see `Plan.undeclared`.
        transport: connected.
        management: the management API.

    Returns:
        The entities that were kept, each with the reason.

    Raises:
        ManagementError: the management API does not answer, or refuses access.
        BrokerError: the broker cannot be reached, or refuses access.
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
            kept = [name for name in names if fits_name(step.entity, name)]
            if kept:
                left.append((step, f"it applies to the queue {kept[0]}, which is kept"))
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
    # A message may have arrived before the unbinding; from now on none can
    found = await find_queue(management, queue.name)
    if found is not None and (why := await _held(found, transport)):
        await transport.rebind(into, [])
        return why
    await transport.delete(Entities(queues=(queue,)))
    log.info("queue %s is deleted: it is not declared in the topology", queue.name)
    return ""


async def _held(found: FoundQueue, transport: Transport) -> str:
    """Return why a queue must not be deleted, or an empty string.

    The management API's statistics are some seconds old, so the ready messages are asked by AMQP.
    """
    status = (await transport.status([found.name]))[found.name]
    if status is not None and status.ready:
        return f"it contains {count(status.ready, 'message')}"
    if status is not None and status.consumers:
        return f"it has {count(status.consumers, 'consumer')}"
    return _in_use(found)


def _in_use(found: FoundQueue) -> str:
    """Return why a queue must not be deleted, or an empty string."""
    if found.messages is None:
        return "its statistics are not available yet"
    if found.messages or found.unsettled or found.dead_lettering:
        return f"it contains {count(found.messages + found.dead_lettering, 'message')}"
    if found.consumers:
        return f"it has {count(found.consumers, 'consumer')}"
    return ""


async def _remove_exchange(exchange: Exchange, transport: Transport, management: Management) -> str:
    found = await management.listing("exchanges", exchange.name, "name")
    if not any(one["name"] == exchange.name for one in found):
        return ""
    for end in ("source", "destination"):
        if await bindings_of(management, "exchanges", exchange.name, end):
            return "it has bindings"
    await transport.delete(Entities(exchanges=(exchange,)))
    log.info("exchange %s is deleted: it is not declared in the topology", exchange.name)
    return ""
