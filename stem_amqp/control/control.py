"""``stem.control``: commands to workers, for async code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter
from typing_extensions import Unpack

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.control.check import check_queues, check_workers
from stem_amqp.control.gather import gathering
from stem_amqp.control.gathered import Answers
from stem_amqp.control.history import Recorded, record_shutdown, recorded
from stem_amqp.control.keywords import CommandKeywords, LastingKeywords, RevokeManyKeywords, To
from stem_amqp.control.lasting import composed, expiry, obeyed, one_target, within_bounds
from stem_amqp.control.tasks import matches, refuse_unknown
from stem_amqp.directives.model import Directive, Kind, Target
from stem_amqp.directives.revocation import RevokeKeywords, RevokeTarget, of_all, of_id
from stem_amqp.durations import Rate
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.answers import Inspection, Obeyed, Pong, ShuttingDown, Statistics
from stem_amqp.messages.commands import (
    AskStatistics,
    ConcurrencyChange,
    Inspect,
    Order,
    Ping,
    ShutDown,
    checked_level,
)
from stem_amqp.results.listing import is_glob

T = TypeVar("T")


class Control:
    """Sends commands to workers; see `Stem.control`.

    Every command takes the options of `stem_amqp.control.CommandKeywords`, and raises:

    - ConfigurationError: an option is not valid, or there is no such queue or worker.
    - BrokerError: the broker cannot be reached, or refuses access.

    Args:
        blueprint: returns the application's blueprint.
        connected: returns its connections.
    """

    __slots__ = ("_blueprint", "_connected")

    def __init__(
        self, blueprint: Callable[[], Blueprint], connected: Callable[[], Connected]
    ) -> None:
        self._blueprint = blueprint
        self._connected = connected

    async def ping(self, **to: Unpack[CommandKeywords]) -> Answers[Pong]:
        """Ask for a sign of life: ``for answer in await stem.control.ping(): …``.

        Args:
            **to: who is meant; see `CommandKeywords`.
        """
        return await self._order(Ping, Pong, to)

    async def inspect(self, **to: Unpack[CommandKeywords]) -> Answers[Inspection]:
        """Ask for registered tasks, queues, settings, and what runs and waits inside.

        Args:
            **to: who is meant; see `CommandKeywords`.
        """
        return await self._order(Inspect, Inspection, to)

    async def stats(self, **to: Unpack[CommandKeywords]) -> Answers[Statistics]:
        """Ask for the counters since the start, and the use of the machine.

        Args:
            **to: who is meant; see `CommandKeywords`.
        """
        return await self._order(AskStatistics, Statistics, to)

    async def shutdown(
        self, *, cold: bool = False, **to: Unpack[CommandKeywords]
    ) -> Answers[ShuttingDown]:
        """Stop workers, as a signal does; a supervisor does not start them again.

        Args:
            cold: cancel running tasks at once and requeue their messages; otherwise they have the grace
                period to finish.
            **to: who is meant; see `CommandKeywords`.
        """
        answers = await self._order(ShutDown, ShuttingDown, to, cold=cold)
        if answers.answers:
            await record_shutdown(self._blueprint(), self._connected(), answers, to)
        return answers

    async def pause(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        **options: Unpack[LastingKeywords],
    ) -> Answers[Obeyed]:
        """Pause a queue or a task in all workers, also those that start later: ``pause(queue="orders")``.

        Running tasks finish; the others wait in the broker.

        Args:
            queue: a glob of logical queues.
            task: a glob of task names; with a queue, only its tasks.
            **options: see `LastingKeywords`.
        """
        target = Target(**one_target(task, queue))
        return await self._last(Kind.PAUSE, target, options)

    async def resume(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        **options: Unpack[LastingKeywords],
    ) -> Answers[Obeyed]:
        """End a pause, which must be named as it was paused, and close an open breaker of that queue or task.

        Args:
            queue: the glob of logical queues.
            task: the glob of task names.
            **options: see `LastingKeywords`.
        """
        target = Target(**one_target(task, queue))
        return await self._last(Kind.PAUSE, target, options, withdrawn=True)

    async def concurrency(
        self, change: str | None, *, queue: str | None = None, **options: Unpack[LastingKeywords]
    ) -> Answers[Obeyed]:
        """Change how many tasks of each queue run at once in each worker: ``concurrency("+5")``.

        Running tasks continue. Several relative changes add up.

        Args:
            change: ``"+5"``, ``"-5"`` or ``"=20"``; None: as it is configured again.
            queue: a glob of logical queues; None: all.
            **options: see `LastingKeywords`.
        """
        target = Target(queue=queue)
        if change is None:
            return await self._last(Kind.CONCURRENCY, target, options, withdrawn=True)
        parsed = ConcurrencyChange.parse(change)
        return await self._last(Kind.CONCURRENCY, target, options, value=str(parsed), change=parsed)

    async def rate_limit(
        self, task: str, rate: str | None, **options: Unpack[LastingKeywords]
    ) -> Answers[Obeyed]:
        """Limit how often a task starts: ``rate_limit("orders.sync", "5/s")``.

        Args:
            task: a glob of task names.
            rate: such as ``"5/s"`` or ``"600/m"``; None: as it is configured again.
            **options: see `LastingKeywords`.
        """
        value = None if rate is None else str(Rate.parse(rate))
        return await self._last(
            Kind.RATE_LIMIT,
            Target(**one_target(task, None)),
            options,
            value=value,
            withdrawn=rate is None,
        )

    async def log_level(
        self, level: str | None, *, queue: str | None = None, **options: Unpack[LastingKeywords]
    ) -> Answers[Obeyed]:
        """Set the level of the workers' logs: ``log_level("DEBUG", workers="web-1", lifetime="10m")``.

        Args:
            level: DEBUG, INFO, WARNING, ERROR or CRITICAL; None: as it is configured again.
            queue: only workers of queues that match this glob; None: all.
            **options: see `LastingKeywords`.
        """
        value = None if level is None else checked_level(level)
        return await self._last(
            Kind.LOG_LEVEL, Target(queue=queue), options, value=value, withdrawn=level is None
        )

    async def revoke(
        self, task_id: str, *, terminate: bool = False, **options: Unpack[LastingKeywords]
    ) -> Answers[Obeyed]:
        """Prevent that a task runs, or runs again; see `Stem.revoke`.

        Args:
            task_id: the task's id.
            terminate: also end its run: an async task is cancelled, a process is killed; a thread cannot
                be stopped, and the answers say so.
            **options: see `LastingKeywords`.
        """
        blueprint, clock = self._blueprint(), self._connected().transport.clock
        given = _revocation(terminate=terminate, options=options)
        directive = of_id(task_id, clock, blueprint.settings.revocation_lifetime, **given)
        return await self._issue(directive, options)

    async def revoke_all(
        self, *, terminate: bool = False, **options: Unpack[RevokeManyKeywords]
    ) -> Answers[Obeyed]:
        """Revoke all tasks that match and were enqueued before now: ``revoke_all(task="orders.*")``.

        Args:
            terminate: also end their runs.
            **options: `task`, `queue`, `meta`, `unique_key` and `composition`, of which all that are given must
                match; and those of `LastingKeywords`.
        """
        which = {name: options[name] for name in RevokeTarget.__annotations__ if name in options}  # type: ignore[literal-required]
        others = {name: value for name, value in options.items() if name not in which}
        chosen = cast("LastingKeywords", others)
        blueprint, clock = self._blueprint(), self._connected().transport.clock
        given = _revocation(terminate=terminate, options=chosen)
        target = cast("RevokeTarget", which)
        directive = of_all(clock, blueprint.settings.revocation_lifetime, **target, **given)
        return await self._issue(directive, chosen)

    async def history(self) -> tuple[Recorded, ...]:
        """Return the last commands that changed something, the oldest first: who, when, what, where."""
        document = await self._connected().desk(self._blueprint()).read()
        return recorded(entry.directive for entry in document.history)

    async def in_force(self) -> tuple[Recorded, ...]:
        """Return the lasting commands that hold now, the oldest first."""
        connected = self._connected()
        document = await connected.desk(self._blueprint()).read()
        now = connected.transport.clock.time()
        return recorded(one for one in document.directives if one.holds("", now))

    async def _last(
        self,
        kind: Kind,
        target: Target,
        options: LastingKeywords,
        *,
        value: str | None = None,
        withdrawn: bool = False,
        change: ConcurrencyChange | None = None,
    ) -> Answers[Obeyed]:
        now = self._connected().transport.clock.time()
        directive = Directive(
            kind=kind,
            target=target,
            value=value,
            reason=options.get("reason", ""),
            expires=expiry(options.get("lifetime"), now),
            withdrawn=withdrawn,
        )
        return await self._issue(directive, options, change=change)

    async def _issue(
        self,
        directive: Directive,
        options: LastingKeywords,
        *,
        change: ConcurrencyChange | None = None,
    ) -> Answers[Obeyed]:
        blueprint, connected = self._blueprint(), self._connected()
        target = directive.target
        exact = target.queue is not None and not is_glob(target.queue)
        unknown = options.keys() - LastingKeywords.__annotations__.keys()
        if unknown:
            raise ConfigurationError(
                f"a command that lasts has no option {min(unknown)!r}\n"
                f"  It has {', '.join(LastingKeywords.__annotations__)}."
            )
        keywords: CommandKeywords = {}
        if "workers" in options:
            keywords["workers"] = options["workers"]
        if "timeout" in options:
            keywords["timeout"] = options["timeout"]
        if "issuer" in options:
            keywords["issuer"] = options["issuer"]
        if exact:
            keywords["queues"] = target.queue or ""
        to = To.of(keywords, blueprint.settings)
        if target.task is not None and not directive.withdrawn:
            await self._check_task(target.task)
        if change is None:
            return await obeyed(blueprint, connected, to, directive)
        directive = replace(directive, workers=to.workers, by=to.issuer)
        return await obeyed(
            blueprint,
            connected,
            to,
            directive,
            revise=composed(directive, change),
            check=within_bounds(change, target.queue),
        )

    async def _check_task(self, task: str) -> None:
        known = {one.name for one in self._blueprint().registry}
        if matches(task, known):
            return
        for inside in (await self.inspect(timeout=2.0)).values.values():
            known |= {one.name for one in inside.tasks}
        refuse_unknown(task, known)

    async def _order(
        self, kind: type[Order], value: type[T], keywords: CommandKeywords, **parameters: Any
    ) -> Answers[T]:
        blueprint, connected = self._blueprint(), self._connected()
        to = To.of(keywords, blueprint.settings)
        now = connected.transport.clock.time()
        order = kind(**to.header(now), **parameters)
        order.encode()  # too large: nothing is sent
        await check_queues(blueprint, connected, to.queues)
        async with gathering(blueprint, connected, to) as found:
            await check_workers(to, found)
            if await found.send(order, order.nonce):
                await found.wait()
            return found.result(order.summary(), to.issuer, order.at, TypeAdapter(value))


def _revocation(*, terminate: bool, options: LastingKeywords) -> RevokeKeywords:
    given: RevokeKeywords = {"terminate": terminate, "reason": options.get("reason", "")}
    if "lifetime" in options:
        given["lifetime"] = options["lifetime"]
    return given
