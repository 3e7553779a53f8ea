"""What the management API knows about the queues of a namespace, and about the nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.errors import ManagementError, ManagementUnavailableError
from stem_amqp.management import Management
from stem_amqp.observability.queues.age import Counts

log = logging.getLogger("stem_amqp.observability")

_COLUMNS = (
    "name,messages_ready,messages_unacknowledged,messages_ready_returned,messages_dlx,consumers,"
    "message_stats.deliver_get,message_stats.redeliver,"
    "message_stats.publish_details.rate,message_stats.ack_details.rate"
)
_ALARMS = {"mem_alarm": "memory", "disk_free_alarm": "disk"}


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStatistics:
    """The numbers of one queue on the broker; they are up to 5 seconds old.

    Args:
        ready: the number of ready messages.
        unacked: the number of unsettled deliveries.
        consumers: the number of consumers.
        overdue: messages that the queue dead-letters and that their next queue has not confirmed.
        counts: the counters for the age of the oldest ready message.
        published: messages published to it per second; None if the broker does not count them.
        acked: deliveries acknowledged per second; None likewise.
    """

    ready: int
    unacked: int
    consumers: int
    overdue: int
    counts: Counts
    published: float | None = None
    acked: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """The answer of the management API.

    Args:
        queues: the queues with numbers, by their names on the broker.
        names: all queues of the namespace, also those that have no numbers yet.
        alarms: whether a resource alarm is on, by node and resource; None without the right to know.
    """

    queues: Mapping[str, QueueStatistics] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    alarms: Mapping[tuple[str, str], bool] | None = None


class StatisticsReader:
    """Asks the management API; a refusal is logged once.

    Args:
        management: the API.
        prefix: the prefix of the queues' names.
    """

    def __init__(self, management: Management, prefix: str) -> None:
        self._management = management
        self._prefix = prefix
        self._problems: dict[str, str] = {}

    async def read(self) -> Statistics | None:
        """Return the answer; None if the API does not answer, or refuses access."""
        listing, alarms, counted = await asyncio.gather(
            self._list(), self._alarms(), self._counts_deliveries()
        )
        if listing is None:
            return None
        found = {
            str(queue.get("name")): numbers
            for queue in listing
            if (numbers := _numbers(queue, counted=counted)) is not None
        }
        names = frozenset(str(queue.get("name")) for queue in listing)
        return Statistics(queues=found, names=names, alarms=alarms)

    async def _list(self) -> list[dict[str, Any]] | None:
        try:
            found = await self._management.listing("queues", self._prefix, _COLUMNS)
        except ManagementError as error:
            self._note(
                "queues",
                "unacked messages and the age of the oldest ready message are not known, because",
                error,
            )
            return None
        self._note("queues")
        return found

    async def _alarms(self) -> Mapping[tuple[str, str], bool] | None:
        try:
            nodes = await self._management.get("nodes")
        except ManagementError as error:
            self._note("nodes", "alarms are not known, because", error)
            return None
        self._note("nodes")
        return {
            (str(node.get("name")), resource): node.get(key) is True
            for node in (nodes if isinstance(nodes, list) else [])
            if isinstance(node, dict)
            for key, resource in _ALARMS.items()
        }

    async def _counts_deliveries(self) -> bool:
        """Return whether the broker counts deliveries, which its configuration can disable."""
        try:
            overview = await self._management.get("overview")
        except ManagementError:
            return False
        return isinstance(overview, dict) and overview.get("rates_mode") in {"basic", "detailed"}

    def _note(self, what: str, lost: str = "", error: ManagementError | None = None) -> None:
        """Log a problem when it begins, and its end."""
        before = self._problems.pop(what, None)
        if error is None:
            if before is not None:
                log.info("the management API answers again about %s", what)
            return
        self._problems[what] = lost
        if before is None:
            log.warning("%s %s", lost, self._explained(error))

    def _explained(self, error: ManagementError) -> str:
        """Return the error, with the remedy for a user who lacks a right."""
        if isinstance(error, ManagementUnavailableError):
            return str(error)
        user, first = self._management.user, str(error).partition("\n")[0]
        return (
            f"{first}\n"
            "  The user needs the right password, and the tag 'monitoring':\n"
            f"    rabbitmqctl set_user_tags {user} monitoring    # replaces its present tags\n"
            "  Or use another user than the broker's:"
            " STEM_MANAGEMENT_URL=http://user:password@host:15672"
        )


def _numbers(queue: Mapping[str, Any], *, counted: bool) -> QueueStatistics | None:
    """Return the numbers of a queue; None for one that was just declared, or without statistics."""
    ready = queue.get("messages_ready")
    if not isinstance(ready, int):
        return None
    stats = queue.get("message_stats")
    stats = stats if isinstance(stats, dict) else {}
    delivered = _whole(stats, "deliver_get") - _whole(stats, "redeliver")
    return QueueStatistics(
        ready=ready,
        unacked=_whole(queue, "messages_unacknowledged"),
        consumers=_whole(queue, "consumers"),
        overdue=_whole(queue, "messages_dlx"),
        counts=Counts(
            ready=ready,
            delivered=max(0, delivered) if counted else None,
            returned=_whole(queue, "messages_ready_returned"),
        ),
        published=_rate(stats, "publish_details") if counted else None,
        acked=_rate(stats, "ack_details") if counted else None,
    )


def _whole(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key)
    return value if isinstance(value, int) else 0


def _rate(stats: Mapping[str, Any], key: str) -> float:
    details = stats.get(key)
    value = details.get("rate") if isinstance(details, dict) else None
    return float(value) if isinstance(value, int | float) else 0.0
