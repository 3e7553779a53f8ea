"""What follows an open group: after its first failure, after its end, and after its success."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from typing_extensions import TypedDict

from stem_amqp.messages.links import Chain, encode_chain
from stem_amqp.messages.reading import decode_chain
from stem_amqp.producer.linking.calls import Value
from stem_amqp.producer.linking.place import Place
from stem_amqp.results.groups.model import GroupRecord, MemberReport
from stem_amqp.tasks.failed import FailedMember


class BatchSummary(TypedDict):
    """What a callback of a batch takes when the batch has ended.

    Args:
        batch: the id of the batch.
        size: the number of its members.
        failed: the number of those that did not succeed.
    """

    batch: str
    size: int
    failed: int


OPENER = 0
"""The index of the member that stands for the block that opens a batch: the batch cannot end before the block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLinks:
    """What follows an open group.

    Args:
        on_complete: the chain after the end of all members, whatever became of them.
        on_success: the chain after the success of all members.
        on_failure: the chain after the first failure.
    """

    on_complete: Chain = ()
    on_success: Chain = ()
    on_failure: Chain = ()

    def encode(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            name: encode_chain(chain) for name in BATCH_EVENTS if (chain := getattr(self, name))
        }

    @classmethod
    def decode(cls, data: Mapping[str, Any], text: bytes) -> BatchLinks:
        """Read it.

        Args:
            data: the parsed value.
            text: the bytes that it comes from, for the error.

        Raises:
            DecodeError: it is malformed.
        """
        return cls(**{name: decode_chain(data.get(name, []), text) for name in BATCH_EVENTS})


BATCH_EVENTS = tuple(field.name for field in fields(BatchLinks))
"""The events of an open group: each the name of what follows it, and a part of the ids of its tasks."""

Begin = Callable[[Chain, Place, Value], Awaitable[None]]


async def follow_batch(
    links: BatchLinks, place: Place, group: GroupRecord, failure: MemberReport | None, begin: Begin
) -> None:
    """Begin what follows an open group now; repeating it begins the same tasks under the same ids.

    Args:
        links: what follows it.
        place: its place.
        group: its counts.
        failure: the first failure, if a member reports it now.
        begin: begins a chain.
    """
    if failure is not None and links.on_failure:
        failed = FailedMember(
            id=failure.task_id,
            index=failure.index,
            state=failure.state.value,
            error=failure.error,
        )
        await begin(links.on_failure, _after(place, "on_failure"), Value(failed))
    if not group.complete:
        return
    summary: BatchSummary = {
        "batch": place.composition,
        "size": group.size - 1,
        "failed": group.failed,
    }
    if links.on_complete:
        await begin(links.on_complete, _after(place, "on_complete"), Value(summary))
    if links.on_success and not group.failed:
        await begin(links.on_success, _after(place, "on_success"), Value(summary))


def _after(place: Place, event: str) -> Place:
    return replace(place, path=f"{place.path}.{event}.0", group=None, index=None)
