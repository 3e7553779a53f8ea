"""What follows a task of a composition: the field ``links`` of its message's body.

A composition is a chain of nodes: links (single calls) and groups. The producer writes all of it into the
messages of the first links; each worker publishes what comes next. Pure data: nothing here touches the broker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

LONGEST: Final = 1000
"""The most nodes of a chain."""
NESTING: Final = 16
"""The most levels of groups inside of groups, and of links that follow links."""

FAIL_FAST: Final = "fail_fast"
COLLECT: Final = "collect"
IGNORE: Final = "ignore"
POLICIES: Final = (FAIL_FAST, COLLECT, IGNORE)
"""What a failed member means for the continuation: it does not run; it gets the failure; it gets the others."""
RESULTS: Final = ("list", "stream", "none")
"""How a continuation gets the results of a group."""
DEFAULT_TTL: Final = 86400.0
"""Seconds for which a group is kept unless it has its own ``ttl``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkNode:
    """One call that a worker enqueues when its turn comes.

    Args:
        task: the task's name.
        queue: the logical queue; None: the queue that the publishing worker knows for the task.
        args: argument name to JSON value, without the piped one.
        piped: the parameter that takes the result before it; None: the link takes none. A link that runs on a
            failure takes an object: ``id``, ``task``, ``state``, ``reason`` and ``error`` of the failed task.
        options: the options that the body carries (see `stem_amqp.tasks.options.CallOptions.carried`), and
            ``delay`` and ``expires`` (seconds from its publish), ``priority``, ``headers``, ``meta``.
        ignore_result: whether nothing about the task is stored.
        on_success: links enqueued when it has succeeded.
        on_failure: links enqueued when it has ended otherwise.
        watched: whether others may wait for its end.
    """

    task: str
    queue: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    piped: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    ignore_result: bool = False
    on_success: tuple[LinkNode, ...] = ()
    on_failure: tuple[LinkNode, ...] = ()
    watched: bool = False

    def encode(self) -> dict[str, Any]:
        """Return the node as JSON values."""
        values = {
            "q": self.queue,
            "a": self.args,
            "p": self.piped,
            "o": self.options,
            "ir": self.ignore_result,
            "w": self.watched,
        }
        data = {"t": self.task} | {name: value for name, value in values.items() if value}
        return data | _encoded_links(self.on_success, self.on_failure)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupNode:
    """Members that run side by side; the next node of the chain is their continuation.

    Args:
        members: each a node, or a chain of nodes.
        policy: one of `POLICIES`.
        results: one of `RESULTS`: how the continuation gets the results.
        ttl: seconds for which the group is kept.
        of: the node has no members of its own: it is the first one of a member, and waits for other members of
            the group around it. Their indexes there.
        on: the ids of tasks for which it waits after these.
    """

    members: tuple[Member, ...]
    policy: str = FAIL_FAST
    results: str = "list"
    ttl: float = DEFAULT_TTL
    of: tuple[int, ...] = ()
    on: tuple[str, ...] = ()

    def encode(self) -> dict[str, Any]:
        """Return the node as JSON values."""
        members = [
            encode_chain(member) if isinstance(member, tuple) else member.encode()
            for member in self.members
        ]
        data = {"g": members, "f": self.policy, "r": self.results, "ttl": self.ttl}
        waits = {"of": list(self.of), "on": list(self.on)}
        return data | {name: value for name, value in waits.items() if value}


Node: TypeAlias = LinkNode | GroupNode
Chain: TypeAlias = tuple[Node, ...]
Member: TypeAlias = Node | Chain
Gates: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The group whose results a task takes.

    Args:
        group: its id.
        results: one of `RESULTS`.
        policy: one of `POLICIES`.
        parameter: the parameter that takes the results; None: none does.
    """

    group: str
    results: str = "list"
    policy: str = FAIL_FAST
    parameter: str | None = None

    def encode(self) -> dict[str, Any]:
        """Return it as JSON values."""
        data = {"group": self.group, "results": self.results, "policy": self.policy}
        return data if self.parameter is None else {**data, "parameter": self.parameter}


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """The place of a task in its composition, and what follows the task.

    The group of its branch is in the field ``group`` of the message.

    Args:
        composition: the id of the composition.
        index: the index of its branch in the group; None: the branch is no member.
        then: the rest of the chain, in order.
        on_success: links enqueued when the task has succeeded.
        on_failure: links enqueued when it has ended otherwise.
        source: the group whose continuation the task is; None: of none.
        token: different for each publish of a continuation; the first to claim the group runs.
        gates: the members that wait for its branch: the index of each, and the position of this branch among
            those that it waits for.
        watched: whether others may wait for the task's end.
    """

    composition: str
    index: int | None = None
    then: Chain = ()
    on_success: tuple[LinkNode, ...] = ()
    on_failure: tuple[LinkNode, ...] = ()
    source: Source | None = None
    token: str | None = None
    gates: Gates = ()
    watched: bool = False

    def encode(self) -> dict[str, Any]:
        """Return the field ``links`` as JSON values."""
        data: dict[str, Any] = {"c": self.composition}
        if self.index is not None:
            data["i"] = self.index
        if self.then:
            data["then"] = encode_chain(self.then)
        data |= _encoded_links(self.on_success, self.on_failure)
        if self.source is not None:
            data["from"] = self.source.encode()
        if self.token is not None:
            data["token"] = self.token
        if self.gates:
            data["to"] = [list(pair) for pair in self.gates]
        if self.watched:
            data["w"] = True
        return data


def encode_chain(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Return nodes as JSON values."""
    return [node.encode() for node in nodes]


def _encoded_links(
    on_success: Sequence[LinkNode], on_failure: Sequence[LinkNode]
) -> dict[str, Any]:
    pairs = (("ok", on_success), ("err", on_failure))
    return {name: encode_chain(nodes) for name, nodes in pairs if nodes}
