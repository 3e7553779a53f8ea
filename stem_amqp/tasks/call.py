"""Calls of tasks: a call to enqueue, the task that it comes from, and the confirmed call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from typing_extensions import TypeVar

from stem_amqp.messages.links import Links
from stem_amqp.messages.message import UNIQUE_KEY, TaskMessage
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.equal_calls.debounce import DEBOUNCE, Place
from stem_amqp.tasks.equal_calls.rule import Rule, rule_of
from stem_amqp.tasks.options import CallOptions
from stem_amqp.tasks.unique import Unique

R_co = TypeVar("R_co", covariant=True, default=Any)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call(Generic[R_co]):
    """One call of a task, ready to be enqueued; its type parameter is the task's return type.

    Args:
        task: the task's name.
        args: argument name to JSON value.
        options: the call's own options.
        definition: the task, if the producer has its code.
        unique_key: the key that the worker releases when the task has ended.
        place: the place of a debounced call among the equal ones.
        links: its place in a composition, and what follows it; None: it is in no composition.
        group: the group that its branch is a member of.
        origin: what it takes over from the task before it in its composition; None: a producer makes the call.
    """

    task: str
    args: Mapping[str, Any]
    options: CallOptions
    definition: TaskDefinition | None = None
    unique_key: str | None = None
    place: Place | None = None
    links: Links | None = None
    group: str | None = None
    origin: Origin | None = None

    @property
    def rule(self) -> Rule | None:
        """The rule for equal calls: unique, debounced or throttled; None if the call has none.

        Raises:
            ConfigurationError: the options of task and call contradict each other.
        """
        own = self.options
        of_task = None if self.definition is None else self.definition.options
        if not own.has_rule and (of_task is None or not of_task.has_rule):
            return None
        return rule_of(self.task, own, of_task)

    @property
    def unique(self) -> Unique | None:
        """The uniqueness of the call; None if it is not unique."""
        rule = self.rule
        return rule if isinstance(rule, Unique) else None

    @property
    def ignore_result(self) -> bool:
        """Whether nothing about the task is stored."""
        own = self.options.ignore_result
        if own is None:
            return self.definition is not None and self.definition.options.ignore_result
        return own

    def same_by(self, rule: Rule) -> Mapping[str, Any] | str:
        """Return what identifies equal calls: the arguments, or the call's own key.

        Raises:
            ConfigurationError: the call lacks an argument by which its rule compares.
        """
        options = self.options
        key = options.unique_key or options.debounce_key or options.throttle_key
        if key is not None:
            return key
        args = self.args
        if self.definition is not None:
            args = self.definition.arguments.canonical(args)
        return rule.chosen(self.task, args)

    def carried(self) -> dict[str, Any]:
        """Return the ``options`` of the message's body."""
        carried = self.options.carried()
        if self.unique_key is not None:
            carried[UNIQUE_KEY] = self.unique_key
        if self.place is not None:
            carried[DEBOUNCE] = self.place.carried()
        return carried


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What the message of a link takes over from the task or group before it.

    Args:
        enqueued_at: the time in the message, ISO 8601 in UTC: equal in each copy of the message.
        reply_to: where the producer of the composition waits for replies, for backends that reply.
        replay: how often the task before was replayed.
    """

    enqueued_at: str
    reply_to: str | None = None
    replay: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """The task that a message comes from, when a task enqueues another.

    Args:
        root: id of the task that began the chain.
        parent: id of the task that enqueues.
        meta: metadata that the new task inherits.
    """

    root: str
    parent: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Enqueued:
    """A call that the broker has confirmed.

    Args:
        message: the published message.
        queue: the logical queue.
        ignore_result: whether nothing about it is stored.
        existing: whether an earlier equal call enqueued the task and this one published nothing.
        wait: seconds that the call waits for the next equal one; 0 if it is not debounced.
    """

    message: TaskMessage
    queue: str
    ignore_result: bool
    existing: bool = False
    wait: float = 0.0
