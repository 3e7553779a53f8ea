"""Commands that last: stored as directives, sent to the workers that run, and confirmed by each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from pydantic import TypeAdapter

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.control.check import check_queues, check_workers
from stem_amqp.control.gather import Gathering, gathering
from stem_amqp.control.gathered import Answers
from stem_amqp.control.keywords import To
from stem_amqp.directives.document import Document
from stem_amqp.directives.issue import Desk, Issued
from stem_amqp.directives.model import Directive, Kind
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.answers import Obeyed
from stem_amqp.messages.commands import MOST_CONCURRENCY, ConcurrencyChange, Confirm
from stem_amqp.observability.registry.listing import ANSWER

_READER = TypeAdapter(Obeyed)

Revise = Callable[[Document], Directive]
"""Returns the directive to store, from the document as it is when it is stored."""
Check = Callable[[Gathering], None]
"""Raises if the workers that are known cannot obey; then nothing is stored."""


async def obeyed(
    blueprint: Blueprint,
    connected: Connected,
    to: To,
    directive: Directive,
    *,
    revise: Revise | None = None,
    check: Check | None = None,
) -> Answers[Obeyed]:
    """Store a directive, tell the workers that run, and wait until each has obeyed.

    Args:
        blueprint: the application.
        connected: its connections.
        to: who answers.
        directive: the directive; a withdrawal must be of one that is stored.
        revise: changes it to what is stored; None: nothing.
        check: looks at the workers that are known before anything is stored; None: nothing is looked at.

    Raises:
        ConfigurationError: there is no such queue, worker or directive, or a worker cannot obey.
        SignatureError: workers need a signature, and this process has no key for commands.
        BrokerError: the broker does not answer, or refuses.
        BackendError: the result backend does not answer.
    """
    await check_queues(blueprint, connected, to.queues)
    desk, clock = connected.desk(blueprint), connected.transport.clock
    directive = replace(directive, by=to.issuer, workers=to.workers)
    async with gathering(blueprint, connected, to) as found:
        await check_workers(to, found)
        if check is not None:
            await found.until(lambda: not found.silent(found.consumers), min(ANSWER, to.timeout))
            check(found)
        issued = await _stored(desk, directive, revise)
        at = clock.time()
        order = Confirm(**to.header(at), directive=issued.directive.nonce)
        if issued.heard and await found.send(order, order.nonce):
            await found.wait()
        result = found.result(described(issued.directive), to.issuer, at, _READER)
        return replace(result, nonce=issued.directive.nonce, stored=issued.store)


async def _stored(desk: Desk, directive: Directive, revise: Revise | None) -> Issued:
    if not directive.withdrawn:
        return await desk.issue(directive, revise=revise)
    return await desk.withdraw(
        directive.kind,
        directive.target,
        # who resumes what a breaker has paused wants it to run
        also=[Kind.BREAKER] if directive.kind == Kind.PAUSE else [],
        workers=directive.workers,
        by=directive.by,
    )


def described(directive: Directive) -> str:
    """Describe a directive in few words: ``pause queue orders``, ``end of pause queue orders``."""
    value = "" if directive.value is None else f" {directive.value}"
    end = "end of " if directive.withdrawn else ""
    target = f" {directive.target}" if directive.target else ""
    workers = f" in {', '.join(directive.workers)}" if directive.workers else ""
    terminate = " and end its runs" if directive.terminate else ""
    return f"{end}{directive.kind}{value}{target}{workers}{terminate}"


def composed(directive: Directive, change: ConcurrencyChange) -> Revise:
    """Return what adds a change of the concurrency to the one that is stored already.

    Args:
        directive: the directive, with the change.
        change: the change.
    """

    def revise(document: Document) -> Directive:
        earlier = next(
            (
                one
                for one in document.directives
                if one.identity == directive.identity and not one.withdrawn
            ),
            None,
        )
        before = None if earlier is None else ConcurrencyChange.parse(earlier.value)
        after = change.after(before)
        if after is None:
            return replace(directive, withdrawn=True)
        return replace(directive, value=str(after))

    return revise


def within_bounds(change: ConcurrencyChange, queue: str | None) -> Check:
    """Return what refuses a change of the concurrency that a worker cannot make.

    Args:
        change: the change.
        queue: a glob of logical queues; None: all.
    """

    def check(found: Gathering) -> None:
        for seen in found.meant():
            for name, present in seen.heartbeat.capacity.items():
                if queue is not None and not fnmatchcase(name, queue):
                    continue
                number = change.applied_to(present)
                if not 1 <= number <= MOST_CONCURRENCY:
                    raise ConfigurationError(
                        f"worker {seen.heartbeat.name} runs {present} tasks of queue {name} at once:"
                        f" {change} would make it {number}, and it must be 1 to {MOST_CONCURRENCY}\n"
                        "  Nothing is changed. To run nothing, pause the queue:"
                        f" stem-amqp control pause --queue {name}"
                    )

    return check


def expiry(lifetime: Duration | None, now: float) -> float | None:
    """Return when a directive ends, in seconds since the epoch; None: when it is withdrawn.

    Args:
        lifetime: how long it holds.
        now: the time of day.

    Raises:
        ConfigurationError: it is not a valid duration.
    """
    if lifetime is None:
        return None
    lasting = seconds(lifetime)
    if lasting <= 0:
        raise ConfigurationError(f"a command must hold for more than 0 s, not {lasting:g} s")
    return round(now + lasting, 3)


def one_target(task: str | None, queue: str | None) -> dict[str, Any]:
    """Return the fields of a target: a task, a queue, or a task in a queue.

    Raises:
        ConfigurationError: neither is given, or one is empty.
    """
    given = {name: value for name, value in (("task", task), ("queue", queue)) if value is not None}
    if not given or not all(given.values()):
        raise ConfigurationError("name a queue or a task: queue='orders', or task='orders.sync'")
    return given
