"""What a composition looks like now: its stored shape, with the states of its tasks and the counts of its groups."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from stem_amqp.composition.shape import shape_key
from stem_amqp.errors import ResultUnavailableError
from stem_amqp.messages.message import new_id
from stem_amqp.producer.linking.batches import OPENER
from stem_amqp.results.base import GroupRecord, ResultBackend, TaskRecord

MOST = 20
"""Members of a group that are shown one by one; of a larger group those that failed, and its counts."""
_AT_ONCE = 50
"""Records that are read at the same time."""
_GLANCE = 1.0
"""Seconds for which an unknown composition's key is held while it is looked up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeNode:
    """A task or a group of a composition.

    Args:
        id: the id of the task or group.
        task: the task's name; None for a group.
        role: how it follows: empty for a link of the chain or the first one of a member, ``then`` for a
            later one of a member, ``on_success``, ``on_failure`` or ``on_complete``.
        record: the task's record; None if nothing is stored about it (yet).
        group: the group's counts; None for a task, or if the group does not exist (yet).
        policy: the group's policy.
        size: the number of the group's members.
        after: what is no group of its own, but the members for which the one after it waits: their ids.
        children: the links on success or failure of a task; the members of a group that are shown.
    """

    id: str
    task: str | None = None
    role: str = ""
    record: TaskRecord | None = None
    group: GroupRecord | None = None
    policy: str = ""
    size: int = 0
    after: tuple[str, ...] = ()
    children: tuple[TreeNode, ...] = field(default=())

    @property
    def omitted(self) -> int:
        """The number of the group's members that are not shown."""
        members = [child.id for child in self.children if not child.role]
        shown = {one.removeprefix(f"{self.id}.").partition(".")[0] for one in members}
        return 0 if self.task is not None or self.after else self.size - len(shown)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A composition and what has become of it.

    Args:
        id: the id of the composition.
        nodes: the links and groups of its chain, in order.
    """

    id: str
    nodes: tuple[TreeNode, ...]


async def read_tree(backend: ResultBackend, given: str, *, most: int = MOST) -> Tree:
    """Read a composition from the result backend.

    Args:
        backend: the backend, open.
        given: the id of the composition, or of any task of it.
        most: members of a group that are read one by one.

    Raises:
        ResultUnavailableError: there is no such composition, or the backend does not store what it looks like.
        BackendUnavailableError: the backend cannot be reached.
    """
    composition = given.partition(".")[0]
    shape = await _shape(backend, composition)
    if shape is not None:
        nodes = await _Reader(backend, most).chain(composition, shape)
        return Tree(id=composition, nodes=await _with_records(backend, nodes))
    record = await backend.get(f"{composition}.0")
    if record is None:
        raise ResultUnavailableError(
            f"there is no composition {composition}: nothing of it is stored, or its time has passed.\n"
            "  Give the id of a composition, or of a task of it; for another task: stem-amqp result ID"
        )
    # A single link has no shape
    node = TreeNode(id=record.task_id, task=record.task, record=record)
    return Tree(id=composition, nodes=(node,))


async def _shape(backend: ResultBackend, composition: str) -> Sequence[Mapping[str, Any]] | None:
    if not backend.keeps_keys:
        raise ResultUnavailableError(
            f"{type(backend).__name__} does not store what compositions look like.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers and"
            " workers."
        )
    key, reader = shape_key(composition), new_id()
    stored = await backend.claim_key(key, reader, ttl=_GLANCE)
    if stored.owner == reader:
        await backend.release_key(key, reader)
        return None
    try:
        shape = orjson.loads(stored.value or b"null")
        steps: Sequence[Mapping[str, Any]] = shape["steps"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return steps


class _Reader:
    """Turns a shape into nodes; groups are looked up, tasks are not yet."""

    def __init__(self, backend: ResultBackend, most: int) -> None:
        self._backend = backend
        self._most = most

    async def chain(
        self,
        prefix: str,
        steps: Sequence[Mapping[str, Any]],
        *,
        member: bool = False,
        role: str = "",
    ) -> tuple[TreeNode, ...]:
        """Return the nodes of a chain."""
        nodes: list[TreeNode] = []
        for position, step in enumerate(steps):
            own = prefix if member and len(steps) == 1 else f"{prefix}.{position}"
            node = await self._node(own, step)
            if position == 0:
                nodes.append(replace(node, role=role))
            else:
                nodes.append(replace(node, role="then") if member else node)
        return tuple(nodes)

    async def _node(self, own: str, step: Mapping[str, Any]) -> TreeNode:
        if "t" in step:
            following: list[TreeNode] = []
            for name, role in (("ok", "on_success"), ("err", "on_failure")):
                for index, link in enumerate(step.get(name, ())):
                    node = await self._node(f"{own}.{name}{index}", link)
                    following.append(replace(node, role=role))
            return TreeNode(id=own, task=str(step["t"]), children=tuple(following))
        group = await self._backend.get_group(own)
        if step.get("after"):
            around = own.rpartition(".")[0].rpartition(".")[0]
            after = tuple(
                f"{around}.{one}" if isinstance(one, int) else str(one) for one in step["after"]
            )
            size = len(after)
            return TreeNode(
                id=own, policy=str(step.get("f", "")), size=size, group=group, after=after
            )
        if group is not None and step.get("open"):
            group = await self._without_opener(group)
        size = group.size if group is not None else int(step.get("n", 0))
        following = [
            node
            for role in ("on_complete", "on_success", "on_failure")
            for node in await self.chain(f"{own}.{role}", step.get(role, ()), role=role)
        ]
        members = await self._members(own, step, group, size)
        return TreeNode(
            id=own,
            policy=str(step.get("f", "")),
            size=size,
            group=group,
            children=(*members, *following),
        )

    async def _without_opener(self, group: GroupRecord) -> GroupRecord:
        """Return the counts of a batch without the member that stands for the block that opens it."""
        first = await self._backend.group_members(group.group_id, limit=1)
        ended = bool(first) and first[0].index == OPENER
        return replace(group, size=group.size - 1, done=group.done - ended, sealed=ended)

    async def _members(
        self, own: str, step: Mapping[str, Any], group: GroupRecord | None, size: int
    ) -> Iterable[TreeNode]:
        branches: Sequence[Any] = step.get("g", ())
        if branches and size <= self._most:
            return [
                node
                for index, branch in enumerate(branches)
                for node in await self.chain(f"{own}.{index}", branch, member=True)
            ]
        if group is None:
            return ()
        wanted = None if size <= self._most else True
        before = OPENER if step.get("open") else -1
        ended = await self._backend.group_members(
            own, after=before, limit=self._most, failed=wanted
        )
        return [TreeNode(id=one.task_id, task="") for one in ended]


async def _with_records(backend: ResultBackend, nodes: Iterable[TreeNode]) -> tuple[TreeNode, ...]:
    """Return nodes with the records of their tasks."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def look_up(node: TreeNode) -> TreeNode:
        record = None
        if node.task is not None:
            async with limit:
                record = await backend.get(node.id)
        children = await asyncio.gather(*map(look_up, node.children))
        task = node.task
        if task == "":
            task = "?" if record is None else record.task
        return replace(node, task=task, record=record, children=tuple(children))

    return tuple(await asyncio.gather(*map(look_up, nodes)))
