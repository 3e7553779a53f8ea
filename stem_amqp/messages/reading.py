"""Read what follows a task of a composition from the field ``links`` of its message's body; see `links`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stem_amqp.errors import DecodeError
from stem_amqp.messages.links import (
    DEFAULT_TTL,
    LONGEST,
    NESTING,
    POLICIES,
    RESULTS,
    Chain,
    Gates,
    GroupNode,
    LinkNode,
    Links,
    Node,
    Source,
)


def decode_links(data: Any, body: bytes, task_id: str) -> Links:
    """Read the field ``links`` of a body.

    Args:
        data: the parsed value.
        body: the whole body, for the error.
        task_id: the id of the task, which begins with that of the composition.

    Raises:
        DecodeError: it is malformed, too long or nested too deep, or the id has no place in the composition.
    """
    reader = _Reader(body)
    links = reader.links(data)
    reader.check_id(links, task_id)
    return links


def decode_chain(data: Any, body: bytes) -> Chain:
    """Read a list of nodes.

    Args:
        data: the parsed value.
        body: the bytes that it comes from, for the error.

    Raises:
        DecodeError: as for `decode_links`.
    """
    return _Reader(body).chain(data, NESTING)


class _Reader:
    """Reads and checks the nodes of one body."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def _value(self, data: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
        value = data.get(name, default)
        if value is default:
            return default
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise self._error(f"{name!r} must be of type {kind.__name__}")
        return value

    def _error(self, why: str) -> DecodeError:
        return DecodeError(f"the field 'links' is malformed: {why}", self._body)

    def _object(self, data: Any, what: str) -> Mapping[str, Any]:
        if not isinstance(data, dict):
            raise self._error(f"{what} must be an object")
        return data

    def links(self, data: Any) -> Links:
        """Read the whole field."""
        found = self._object(data, "it")
        composition = self._value(found, "c", str, "")
        index = self._value(found, "i", int, None)
        if not composition or (index is not None and index < 0):
            raise self._error("'c' must be an id, and 'i' an index from 0")
        source = found.get("from")
        return Links(
            composition=composition,
            index=index,
            then=self.chain(found["then"], NESTING) if "then" in found else (),
            on_success=self._following(found, "ok", NESTING),
            on_failure=self._following(found, "err", NESTING),
            source=None if source is None else self._source(source),
            token=self._value(found, "token", str, None),
            gates=self._gates(found.get("to", [])),
            watched=self._value(found, "w", bool, False),
        )

    def check_id(self, links: Links, task_id: str) -> None:
        """Refuse an id from which those of the links that follow cannot be derived."""
        before, _, position = task_id.rpartition(".")
        begins = f"{before}.".startswith(f"{links.composition}.")
        if not begins or not (position.isdecimal() or not links.then):
            raise self._error(
                f"task {task_id:.80} has no place in composition {links.composition:.80}"
            )

    def chain(self, data: Any, depth: int) -> Chain:
        """Read a list of nodes."""
        if not isinstance(data, list) or len(data) > LONGEST:
            raise self._error(f"a chain must be a list of at most {LONGEST} nodes")
        return tuple(self._node(node, depth) for node in data)

    def _node(self, data: Any, depth: int) -> Node:
        found = self._object(data, "a node")
        if depth <= 0:
            raise self._error(f"it is nested deeper than {NESTING} levels")
        return self._group(found, depth) if "g" in found else self._link(found, depth)

    def _link(self, data: Mapping[str, Any], depth: int) -> LinkNode:
        task = self._value(data, "t", str, "")
        if not task:
            raise self._error("a link must name its task")
        return LinkNode(
            task=task,
            queue=self._value(data, "q", str, None),
            args=self._value(data, "a", dict, _NOTHING),
            piped=self._value(data, "p", str, None),
            options=self._value(data, "o", dict, _NOTHING),
            ignore_result=self._value(data, "ir", bool, False),
            on_success=self._following(data, "ok", depth - 1),
            on_failure=self._following(data, "err", depth - 1),
            watched=self._value(data, "w", bool, False),
        )

    def _following(self, data: Mapping[str, Any], name: str, depth: int) -> tuple[LinkNode, ...]:
        if name not in data:
            return ()
        nodes = self.chain(data[name], depth)
        links = tuple(node for node in nodes if isinstance(node, LinkNode))
        if len(links) < len(nodes):
            raise self._error(f"{name!r} must contain links only")
        return links

    def _group(self, data: Mapping[str, Any], depth: int) -> GroupNode:
        members = data["g"]
        of, on = data.get("of", []), data.get("on", [])
        if not isinstance(members, list) or (members and (of or on)):
            raise self._error("'g' must be a list of members, and empty beside 'of' and 'on'")
        if not isinstance(on, list) or not all(isinstance(one, str) and one for one in on):
            raise self._error("'on' must be a list of ids")
        ttl = data.get("ttl", DEFAULT_TTL)
        if not isinstance(ttl, int | float) or isinstance(ttl, bool) or ttl <= 0:
            raise self._error("'ttl' must be a positive number of seconds")
        return GroupNode(
            members=tuple(
                self.chain(member, depth - 1)
                if isinstance(member, list)
                else self._node(member, depth - 1)
                for member in members
            ),
            policy=self._one_of(data, "f", POLICIES),
            results=self._one_of(data, "r", RESULTS),
            ttl=float(ttl),
            of=self._indexes(of, "'of'"),
            on=tuple(on),
        )

    def _gates(self, data: Any) -> Gates:
        if not isinstance(data, list):
            raise self._error("'to' must be a list of pairs")
        pairs = [self._indexes(pair, "a pair of 'to'") for pair in data]
        if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004 - an index and a position
            raise self._error("'to' must be a list of pairs")
        return tuple((pair[0], pair[1]) for pair in pairs)

    def _indexes(self, data: Any, name: str) -> tuple[int, ...]:
        valid = isinstance(data, list) and all(type(one) is int and one >= 0 for one in data)
        if not valid:
            raise self._error(f"{name} must be a list of indexes")
        return tuple(data)

    def _one_of(self, data: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
        value: str = self._value(data, name, str, known[0])
        if value not in known:
            raise self._error(f"{name!r} must be one of {', '.join(known)}")
        return value

    def _source(self, data: Any) -> Source:
        found = self._object(data, "'from'")
        group = self._value(found, "group", str, "")
        if not group:
            raise self._error("'from' must name a group")
        return Source(
            group=group,
            results=self._one_of(found, "results", RESULTS),
            policy=self._one_of(found, "policy", POLICIES),
            parameter=self._value(found, "parameter", str, None),
        )


_NOTHING: Mapping[str, Any] = {}
