"""The contract of a result backend: guarded transitions, progress, waiting, groups.

Everything that is written comes in batches, so that a store can use one round trip, one statement or
one transaction for many tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.errors import ConfigurationError
from stem_amqp.states import TaskState


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a running task is.

    Args:
        fraction: 0 to 1, or None where the task only says that it is alive.
        message: for people.
        data: for programs, JSON values.
        at: seconds since the epoch.
    """

    fraction: float | None = None
    message: str | None = None
    data: Any = None
    at: float = 0.0


# not frozen: there is one for each task, and a frozen one takes four times as long to make
@dataclass(kw_only=True, slots=True)
class Transition:
    """A change of a task's record. The store accepts it only if `states.may_follow` allows it.

    Args:
        task_id: the task.
        task: the task's name.
        queue: the logical queue.
        state: the new state.
        attempt: 0 for the first run.
        replay: how often the task was replayed from the dead-letter queue.
        at: seconds since the epoch.
        worker: the worker that made it.
        result: the JSON bytes of the return value; with ``succeeded``.
        reason: why it ended or waits, such as ``retries-exhausted``.
        error: type and message of the last exception.
        traceback: the worker's traceback as text.
        next_run: seconds since the epoch of the next run; with ``retrying`` and ``snoozed``.
        meta: the caller's metadata.
        ttl: seconds that the record is kept after this change.
        reply_to: where the producer waits for replies, for backends that reply.
    """

    task_id: str
    task: str
    queue: str
    state: TaskState
    attempt: int = 0
    replay: int = 0
    at: float
    worker: str | None = None
    result: bytes | None = None
    reason: str | None = None
    error: str | None = None
    traceback: str | None = None
    next_run: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    ttl: float = 86400.0
    reply_to: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressUpdate:
    """Progress of a task to store. It changes no state, and none of a task that has ended.

    Args:
        task_id: the task.
        progress: how far it is.
        ttl: seconds that the record is kept after this change.
        reply_to: where the producer waits for replies, for backends that reply.
    """

    task_id: str
    progress: Progress
    ttl: float = 86400.0
    reply_to: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRecord:
    """What a backend knows of a task.

    Args:
        task_id: the task.
        task: the task's name.
        queue: the logical queue.
        state: where it stands.
        attempt: 0 for the first run.
        replay: how often it was replayed from the dead-letter queue.
        created_at: seconds since the epoch of the first change that was stored.
        updated_at: of the last one.
        worker: the worker that made the last change.
        result: the JSON bytes of the return value, if it succeeded.
        reason: why it ended or waits.
        error: type and message of the last exception.
        traceback: the worker's traceback as text.
        next_run: seconds since the epoch of the next run.
        meta: the caller's metadata.
        progress: the last progress, if there was any.
    """

    task_id: str
    task: str
    queue: str
    state: TaskState
    attempt: int
    replay: int
    created_at: float
    updated_at: float
    worker: str | None = None
    result: bytes | None = None
    reason: str | None = None
    error: str | None = None
    traceback: str | None = None
    next_run: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRecord:
    """What a backend knows of a group of tasks.

    Args:
        group_id: the group.
        size: number of its members.
        members: task id to the final state it was reported with.
        claimed_by: who claimed the completed group, or None.
    """

    group_id: str
    size: int
    members: Mapping[str, TaskState] = field(default_factory=dict)
    claimed_by: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every member has been reported."""
        return len(self.members) >= self.size


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRecord:
    """Who holds a key.

    Args:
        owner: who holds it.
        value: what the owner has put there; from then on the key changes hands no more.
        remaining: seconds until it is forgotten.
    """

    owner: str
    value: bytes | None = None
    remaining: float = 0.0


class ResultBackend(ABC):
    """A store for task results and group state.

    Attributes:
        keeps_states: whether states before the end (queued, running) are worth sending to it.
        needs_reply: whether producers must give a `reply_address` with their messages.
    """

    keeps_states: bool = True
    needs_reply: bool = False

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create or migrate the schema.

        Raises:
            BackendUnavailableError: the store cannot be reached.
            ConfigurationError: the URL cannot be used.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close it; closing twice is no error, and waiters are cancelled."""

    async def reply_address(self) -> str | None:
        """Return the address for ``reply_to``, for backends that reply to the producer."""
        return None

    @abstractmethod
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes durably, in the given order.

        Args:
            changes: any number, also several of one task.

        Returns:
            For each whether it was accepted; False where it would have gone backwards.

        Raises:
            BackendUnavailableError: none of them is known to be stored; repeating is safe.
        """

    @abstractmethod
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress; that of tasks that are unknown or have ended is ignored.

        Raises:
            BackendUnavailableError: as for `transition`.
        """

    @abstractmethod
    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task, or None if nothing is (any more)."""

    @abstractmethod
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended, by push and not by polling where the store can.

        Args:
            task_id: the task; it need not be known yet.
            timeout: seconds; None waits for ever.

        Raises:
            ResultTimeoutError: it did not end in time.
        """

    @abstractmethod
    async def create_group(self, group_id: str, size: int, *, ttl: float) -> None:
        """Create a group; creating it again with the same size is no error.

        Args:
            group_id: the group.
            size: number of members, at least 1.
            ttl: seconds that the group is kept.

        Raises:
            ConfigurationError: it exists with another size.
        """

    @abstractmethod
    async def report_member(self, group_id: str, task_id: str, state: TaskState) -> GroupRecord:
        """Report that a member has ended; only its first report counts.

        Returns:
            The group after the report.

        Raises:
            ResultUnavailableError: there is no such group (any more).
        """

    @abstractmethod
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again.

        So a winner that crashed before it acted can act after its redelivery.

        Args:
            group_id: the group.
            claimant: a stable name, such as the task id of the last member.

        Returns:
            Whether the claimant is the winner; False also while the group is not complete.
        """

    @abstractmethod
    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group, or None if there is none (any more)."""

    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:  # noqa: ARG002
        """Take a key that nobody holds; of any number of claimants exactly one wins.

        The owner of a key without a value wins again, and its time begins anew. A key with a value
        stays as it is.

        Args:
            key: any text. Where several namespaces share a store that knows none (a file, this
                process), it must name the namespace.
            owner: a name that is nobody else's.
            ttl: seconds that the owner holds it.

        Returns:
            The key as it stands now: the claimant has won if it is the owner.

        Raises:
            ConfigurationError: this backend keeps no keys.
            BackendUnavailableError: it is not known to be taken; repeating is safe.
        """
        raise self._keeps_no_keys()

    async def keep_key(
        self,
        key: str,  # noqa: ARG002
        owner: str,  # noqa: ARG002
        *,
        ttl: float,  # noqa: ARG002
        value: bytes | None = None,  # noqa: ARG002
    ) -> bool:
        """Hold a key for longer, and put a value there.

        Args:
            key: the key.
            owner: who holds it.
            ttl: seconds from now.
            value: None leaves what is there.

        Returns:
            Whether the owner still held it; otherwise nothing was changed.

        Raises:
            ConfigurationError: this backend keeps no keys.
            BackendUnavailableError: as for `claim_key`.
        """
        raise self._keeps_no_keys()

    async def release_key(self, key: str, owner: str) -> bool:  # noqa: ARG002
        """Let a key go, whatever its value.

        Returns:
            Whether the owner held it; otherwise nothing was changed.

        Raises:
            ConfigurationError: this backend keeps no keys.
            BackendUnavailableError: as for `claim_key`.
        """
        raise self._keeps_no_keys()

    def _keeps_no_keys(self) -> ConfigurationError:
        return ConfigurationError(
            f"unique tasks and ctx.once need a result backend that stores keys, which"
            f" {type(self).__name__} does not.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers"
            " and workers (memory:// for tests)."
        )

    @abstractmethod
    async def purge_expired(self) -> int:
        """Remove what is past its TTL, and return how many records that were."""

    @abstractmethod
    async def ping(self) -> None:
        """Make sure that the store answers.

        Raises:
            BackendUnavailableError: it does not.
        """
