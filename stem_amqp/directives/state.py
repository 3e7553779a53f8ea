"""The directives that hold now, for a worker that asks before it runs a task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from stem_amqp.clock import Clock
from stem_amqp.directives.document import ENTRIES
from stem_amqp.directives.model import Directive, Kind
from stem_amqp.messages.message import TaskMessage

log = logging.getLogger("stem_amqp.worker")

MOST = 2 * ENTRIES
"""The most directives that are kept; a document has at most half of that."""

Listener = Callable[[tuple[Directive, ...]], None]
"""Is told of the directives that came into effect, were withdrawn, or have expired."""


class Directives:
    """What a worker must obey; it is true if there is anything.

    Args:
        clock: the time of day.
        worker: the worker's name; directives for other workers are not obeyed.
        namespace: the application's namespace.

    Attributes:
        revoking: whether there are revocations; while there are none, no message needs to be checked.
    """

    def __init__(self, clock: Clock, *, worker: str = "", namespace: str = "") -> None:
        self.revoking = False
        self._clock = clock
        self._worker = worker
        self._namespace = namespace
        self._known: dict[tuple[str, bytes], Directive] = {}
        self._ids: dict[tuple[str, str], Directive] = {}
        self._others: dict[str, tuple[Directive, ...]] = {}
        self._listeners: list[Listener] = []
        self._full = False

    def __bool__(self) -> bool:
        return bool(self._ids or self._others)

    def listen(self, listener: Listener) -> None:
        """Tell a listener of every change, after it is in effect; it asks this object what holds now.

        Args:
            listener: called in the event loop with the directives that came into effect, were withdrawn,
                or have expired.
        """
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Tell a listener of no more changes."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def learn(self, directives: Iterable[Directive]) -> tuple[Directive, ...]:
        """Add directives, of which the last one of each identity holds; return those that are news.

        Args:
            directives: any number, in any order, also ones that are known.
        """
        now = self._clock.time()
        news = []
        for directive in directives:
            known = self._known.get(directive.identity)
            if known is not None and known.order >= directive.order:
                continue
            if (directive.kept_until or now + 1) <= now:
                continue
            if known is None and len(self._known) >= MOST:
                self._refuse()
                continue
            self._known[directive.identity] = directive
            # what is for other workers, or withdraws what was never known, changes nothing here
            if directive.holds(self._worker, now) or (
                known is not None and known.holds(self._worker, now)
            ):
                news.append(directive)
        self._changed(tuple(news))
        return tuple(news)

    def expire(self) -> float | None:
        """Forget what has expired, and return when the next directive expires, if one does.

        Returns:
            Seconds since the epoch.
        """
        now = self._clock.time()
        gone = [one for one in self._known.values() if one.expires and one.expires <= now]
        for directive in gone:
            if (directive.kept_until or 0.0) <= now:
                del self._known[directive.identity]
        self._full = False
        self._changed(tuple(one for one in gone if not one.withdrawn))
        ends = [one.expires for one in self._known.values() if one.expires and one.expires > now]
        return min(ends, default=None)

    def in_effect(self, kind: str) -> tuple[Directive, ...]:
        """Return the directives of a kind that hold now, the last issued last.

        Args:
            kind: a `Kind`.
        """
        found = self._others.get(kind, ())
        if kind == Kind.REVOKE:
            found = tuple(sorted((*self._ids.values(), *found), key=lambda one: one.order))
        now = self._clock.time()
        return tuple(one for one in found if one.holds(self._worker, now))

    def revocation(self, message: TaskMessage, queue: str) -> str | None:
        """Return why a message must not be run; None if it may run.

        Args:
            message: the message.
            queue: the logical queue that it is in.
        """
        if not self.revoking:
            return None
        now = self._clock.time()
        for identity in _ids_of(message):
            one = self._ids.get(identity)
            if (
                one is not None
                and one.holds(self._worker, now)
                and one.revokes(message, queue, self._namespace)
            ):
                return one.reason
        for one in self._others.get(Kind.REVOKE, ()):
            if one.holds(self._worker, now) and one.revokes(message, queue, self._namespace):
                return one.reason
        return None

    def paused_queue(self, queue: str) -> Directive | None:
        """Return the pause of a whole queue, an operator's or a breaker's; None if it is not paused.

        Args:
            queue: the logical queue.
        """
        if not self._others:
            return None

        def meant(one: Directive) -> bool:
            wanted = one.target.queue
            return wanted is not None and one.target.task is None and fnmatchcase(queue, wanted)

        return self._last(Kind.PAUSE, meant) or self._last(Kind.BREAKER, meant)

    def paused_task(self, task: str, queue: str = "") -> Directive | None:
        """Return the pause of a task's name, an operator's or a breaker's; None if it is not paused.

        Args:
            task: the task's name.
            queue: the logical queue, for pauses of a task in some queues.
        """
        if not self._others:
            return None

        def meant(one: Directive) -> bool:
            wanted = one.target.task
            return (
                wanted is not None
                and fnmatchcase(task, wanted)
                and (one.target.queue is None or fnmatchcase(queue, one.target.queue))
            )

        return self._last(Kind.PAUSE, meant) or self._last(Kind.BREAKER, meant)

    def rate_limit(self, name: str) -> Any:
        """Return the rate limit that replaces a configured one; None if there is none.

        Args:
            name: the name of a limit, or of a task.
        """
        if not self._others:
            return None
        found = self._last(
            Kind.RATE_LIMIT,
            lambda one: (
                one.target.name == name
                or (one.target.task is not None and fnmatchcase(name, one.target.task))
            ),
        )
        return None if found is None else found.value

    def concurrency(self, queue: str) -> Any:
        """Return the concurrency that replaces a configured one; None if there is none.

        Args:
            queue: the logical queue.
        """
        if not self._others:
            return None
        found = self._last(
            Kind.CONCURRENCY,
            lambda one: one.target.queue is None or fnmatchcase(queue, one.target.queue),
        )
        return None if found is None else found.value

    def log_level(self) -> Any:
        """Return the level that replaces the configured one; None if there is none."""
        if not self._others:
            return None
        found = self._last(Kind.LOG_LEVEL, lambda _: True)
        return None if found is None else found.value

    def _last(self, kind: Kind, meant: Callable[[Directive], bool]) -> Directive | None:
        found = self._others.get(kind)
        if not found:
            return None
        now = self._clock.time()
        return next(
            (one for one in reversed(found) if one.holds(self._worker, now) and meant(one)), None
        )

    def _changed(self, news: tuple[Directive, ...]) -> None:
        if not news:
            return
        now = self._clock.time()
        kinds = set()
        for directive in news:
            identity = _one_id(directive)
            if identity is None:
                kinds.add(directive.kind)
            elif directive.holds(self._worker, now):
                self._ids[identity] = directive
            else:
                self._ids.pop(identity, None)
        if kinds:
            self._index(kinds, now)
        self.revoking = bool(self._ids or self._others.get(Kind.REVOKE))
        for listener in tuple(self._listeners):
            try:
                listener(news)
            except Exception:
                log.exception("a change of the directives could not be carried out completely")

    def _index(self, kinds: set[str], now: float) -> None:
        found: dict[str, list[Directive]] = {kind: [] for kind in kinds}
        for one in self._known.values():
            if one.kind in kinds and _one_id(one) is None and one.holds(self._worker, now):
                found[one.kind].append(one)
        for kind, directives in found.items():
            if directives:
                self._others[kind] = tuple(sorted(directives, key=lambda one: one.order))
            else:
                self._others.pop(kind, None)

    def _refuse(self) -> None:
        if not self._full:
            log.warning("more than %d directives: further ones are ignored until some expire", MOST)
        self._full = True


def _one_id(directive: Directive) -> tuple[str, str] | None:
    """Return the id by which a directive revokes one task or one composition, without another condition."""
    if directive.kind != Kind.REVOKE or directive.workers:
        return None
    fields = directive.target.fields()
    if fields.keys() not in ({"id"}, {"composition"}):
        return None
    ((name, value),) = fields.items()
    return name, value


def _ids_of(message: TaskMessage) -> tuple[tuple[str, str], ...]:
    own = ("id", message.id)
    return (own,) if message.links is None else (own, ("composition", message.links.composition))
