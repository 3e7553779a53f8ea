"""What follows an open group: after its first failure, after its end, and after its success."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from typing_extensions import TypedDict

from stem_amqp.errors import BackendError, StemError
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Unbegun:
    """A callback of a batch that could not be begun.

    Args:
        event: its event.
        links: its links.
        place: the place of the first one.
        error: why.
    """

    event: str
    links: Chain
    place: Place
    error: StemError


async def follow_batch(
    links: BatchLinks, place: Place, group: GroupRecord, failure: MemberReport | None, begin: Begin
) -> list[Unbegun]:
    """Begin what follows an open group now; repeating it begins the same tasks under the same ids.

    A callback that cannot be begun does not keep the others from it.

    Args:
        links: what follows it.
        place: its place.
        group: its counts.
        failure: the first failure, if a member reports it now.
        begin: begins a chain.

    Returns:
        The callbacks that could not be begun.

    Raises:
        BackendError: the result backend does not answer.
    """
    unbegun: list[Unbegun] = []

    async def attempt(event: str, value: Mapping[str, Any]) -> None:
        chain, after = getattr(links, event), _after(place, event)
        try:
            await begin(chain, after, Value(value))
        except BackendError:
            raise
        except StemError as error:
            unbegun.append(Unbegun(event=event, links=chain, place=after, error=error))

    if failure is not None and links.on_failure:
        failed = FailedMember(
            id=failure.task_id,
            index=failure.index,
            state=failure.state.value,
            error=failure.error,
        )
        await attempt("on_failure", failed)
    if not group.complete:
        return unbegun
    summary: BatchSummary = {
        "batch": place.composition,
        "size": group.size - 1,
        "failed": group.failed,
    }
    if links.on_complete:
        await attempt("on_complete", summary)
    if links.on_success and not group.failed:
        await attempt("on_success", summary)
    return unbegun


def _after(place: Place, event: str) -> Place:
    return replace(place, path=f"{place.path}.{event}.0", group=None, index=None)
