"""What a group's record says about its continuation: the group's plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from stem_amqp.errors import DecodeError
from stem_amqp.messages.links import POLICIES, RESULTS, Chain, GroupNode, encode_chain
from stem_amqp.messages.reading import decode_chain
from stem_amqp.producer.linking.batches import BatchLinks
from stem_amqp.producer.linking.place import Place
from stem_amqp.tasks.call import Lineage


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What follows a group.

    Args:
        place: the place of the group.
        then: the nodes after it; the first one is its continuation.
        policy: what a failed member means for the continuation.
        results: how the continuation gets the results.
        batch: what follows an open group; None: the group is not open.
    """

    place: Place
    then: Chain
    policy: str
    results: str
    batch: BatchLinks | None = None

    @classmethod
    def of(cls, node: GroupNode, place: Place, then: Chain) -> Plan:
        """Return the plan of a group.

        Args:
            node: the group.
            place: its place.
            then: the nodes after it.
        """
        return cls(place=place, then=then, policy=node.policy, results=node.results)

    def encode(self) -> bytes:
        """Return it as JSON; the backend signs it where messages are signed.

        Raises:
            TypeError: a value cannot be written as JSON.
        """
        return orjson.dumps(self._values())

    def _values(self) -> dict[str, Any]:
        place, lineage = self.place, self.place.lineage
        values = {
            "then": encode_chain(self.then),
            "group": place.group,
            "index": place.index,
            "to": list(place.gates),
            "root": lineage.root if lineage else None,
            "parent": lineage.parent if lineage else None,
            "meta": lineage.meta if lineage else None,
            "reply_to": place.reply_to,
            "replay": place.replay,
            "b": None if self.batch is None else {"v": 1, **self.batch.encode()},
        }
        return {
            "v": 1,
            "id": place.id,
            "c": place.composition,
            "path": place.path,
            "at": place.enqueued_at,
            "f": self.policy,
            "r": self.results,
        } | {name: value for name, value in values.items() if value not in (None, [], {})}


def read_plan(text: bytes, group_id: str) -> Plan:
    """Read the plan of a group, whose signature the backend has verified.

    Args:
        text: the plan.
        group_id: the group.

    Raises:
        DecodeError: the plan is malformed, or of another group.
    """
    data = _object(text)
    try:
        plan = _read(data, text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DecodeError(f"the plan of group {group_id} is malformed: {error!r}", text) from error
    if plan.place.id != group_id or data["id"] != group_id:
        raise DecodeError(f"the plan of group {group_id} is that of another group", text)
    return plan


def _object(text: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"the plan of a group is not JSON: {error}", text) from error
    if not isinstance(data, dict):
        raise DecodeError("the plan of a group is not a JSON object", text)
    return data


def _read(data: dict[str, Any], text: bytes) -> Plan:
    policy, results = data["f"], data["r"]
    if policy not in POLICIES or results not in RESULTS:
        raise DecodeError("the plan of a group has an unknown policy or mode of results", text)
    lineage = None
    if data.get("parent"):
        lineage = Lineage(root=data["root"], parent=data["parent"], meta=data.get("meta") or {})
    place = Place(
        composition=data["c"],
        path=data["path"],
        enqueued_at=data["at"],
        group=data.get("group"),
        index=data.get("index"),
        gates=tuple((index, position) for index, position in data.get("to", [])),
        lineage=lineage,
        reply_to=data.get("reply_to"),
        replay=data.get("replay", 0),
        follows=True,
    )
    batch = data.get("b")
    return Plan(
        place=place,
        then=decode_chain(data.get("then", []), text),
        policy=policy,
        results=results,
        batch=None if batch is None else BatchLinks.decode(batch, text),
    )
