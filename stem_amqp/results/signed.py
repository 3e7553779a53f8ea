"""A result backend that signs the records of ended tasks, and verifies them when it reads them.

The signature is part of the record's metadata, so every backend can store it, and an earlier release
can read such a record.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.errors import ResultSignatureError, SignatureError
from stem_amqp.limits.base import LimitStore
from stem_amqp.results.base import (
    GroupRecord,
    KeyRecord,
    MemberRecord,
    MemberReport,
    Position,
    ProgressUpdate,
    ResultBackend,
    TaskQuery,
    TaskRecord,
    Transition,
)
from stem_amqp.results.listing import ALL
from stem_amqp.results.records import writable
from stem_amqp.results.rpc.backend import RpcBackend
from stem_amqp.schedule_store.base import ScheduleStore
from stem_amqp.settings import Signatures
from stem_amqp.signing.group import open_plan, open_value, seal_plan, sign_value
from stem_amqp.signing.result import SIGNATURE, sign_result, verify_result
from stem_amqp.signing.seal import Seal
from stem_amqp.states import Reason, TaskState

log = logging.getLogger("stem_amqp.results")


def signed(backend: ResultBackend, seal: Seal | None) -> ResultBackend:
    """Return a backend that signs and verifies, or the backend itself if there are no keys.

    Args:
        backend: the backend.
        seal: the keys.
    """
    return backend if seal is None else SignedBackend(backend, seal)


class SignedBackend(ResultBackend):
    """Signs the final states of tasks, and rejects unsigned ones.

    Args:
        backend: the store of the records.
        seal: the keys, and whether a signature is required.
    """

    def __init__(self, backend: ResultBackend, seal: Seal) -> None:
        self.keeps_states = backend.keeps_states
        self.needs_reply = backend.needs_reply
        self.keeps_keys = backend.keeps_keys
        self.group_limit = backend.group_limit
        self.lists_tasks = backend.lists_tasks
        self._backend = backend
        self._seal = seal
        if isinstance(backend, RpcBackend):
            # A forged reply, once stored, would block the real one
            backend.accepts = self._accepts
            backend.groups.accepts = self._accepts_member

    @property
    def inner(self) -> ResultBackend:
        """The backend that holds the records."""
        return self._backend

    @override
    async def open(self) -> None:
        await self._backend.open()

    @override
    async def close(self) -> None:
        await self._backend.close()

    @override
    async def reply_address(self) -> str | None:
        return await self._backend.reply_address()

    @override
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes, those that end a task with a signature."""
        return await self._backend.transition([self._signed(change) for change in changes])

    @override
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress, which is not signed."""
        await self._backend.report_progress(updates)

    @override
    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task.

        Raises:
            ResultSignatureError: it has ended, and its signature is missing or wrong.
        """
        record = await self._backend.get(task_id)
        return None if record is None else self._verified(record)

    @override
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended.

        Raises:
            ResultTimeoutError: it did not end in time.
            ResultSignatureError: the signature of its end is missing or wrong.
        """
        return self._verified(await self._backend.wait(task_id, timeout))

    @override
    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        """Return records; one without a valid signature has no result, and its error says so."""
        found = await self._backend.find_tasks(query, after=after, limit=limit)
        return [self._listed(record) for record in found]

    @override
    async def count_tasks(self, query: TaskQuery = ALL) -> dict[TaskState, int]:
        """Count tasks by their state, as it is stored."""
        return await self._backend.count_tasks(query)

    @override
    async def create_group(
        self, group_id: str, size: int, *, ttl: float, plan: bytes = b"", sealed: bool = True
    ) -> None:
        """Create a group with a signed plan, which is encrypted if bodies are."""
        plan = seal_plan(self._seal, group_id, plan)
        await self._backend.create_group(group_id, size, ttl=ttl, plan=plan, sealed=sealed)

    @override
    async def expand_group(self, group_id: str, count: int, *, addition: str) -> int:
        return await self._backend.expand_group(group_id, count, addition=addition)

    @override
    async def seal_group(self, group_id: str) -> GroupRecord:
        return await self._backend.seal_group(group_id)

    @override
    async def report_members(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        """Report members, each with a signature."""
        return await self._backend.report_members(
            [
                replace(
                    report,
                    value=sign_value(self._seal, _end(report.group_id, report), report.value),
                )
                for report in reports
            ]
        )

    @override
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        return await self._backend.claim_group(group_id, claimant)

    @override
    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group; its counts are not signed.

        Raises:
            ResultSignatureError: its plan has no valid signature.
        """
        group = await self._backend.get_group(group_id)
        if group is None:
            return None
        try:
            return replace(group, plan=open_plan(self._seal, group_id, group.plan))
        except SignatureError as error:
            raise ResultSignatureError(
                f"what follows group {group_id} is rejected: {error}\n"
                "  Another program may have written it, or a process without a key."
            ) from error

    @override
    async def group_members(
        self, group_id: str, *, after: int = -1, limit: int = 1000, failed: bool | None = None
    ) -> list[MemberRecord]:
        """Return members.

        Raises:
            ResultSignatureError: the signature of a member is missing or wrong.
        """
        members = await self._backend.group_members(
            group_id, after=after, limit=limit, failed=failed
        )
        return [self._verified_member(group_id, member) for member in members]

    @override
    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        return await self._backend.claim_key(key, owner, ttl=ttl)

    @override
    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        return await self._backend.keep_key(key, owner, ttl=ttl, value=value)

    @override
    async def swap_key(
        self, key: str, owner: str, *, ttl: float, expected: bytes | None, value: bytes
    ) -> KeyRecord:
        return await self._backend.swap_key(key, owner, ttl=ttl, expected=expected, value=value)

    @override
    async def release_key(self, key: str, owner: str) -> bool:
        return await self._backend.release_key(key, owner)

    @override
    def limits(self, clock: Clock | None = None) -> LimitStore | None:
        return self._backend.limits(clock)

    @override
    def schedules(self) -> ScheduleStore | None:
        return self._backend.schedules()

    @override
    async def purge_expired(self) -> int:
        return await self._backend.purge_expired()

    @override
    async def ping(self) -> None:
        await self._backend.ping()

    def _signed(self, change: Transition) -> Transition:
        key = self._seal.ring.current.publishing
        if not change.state.final or key is None or self._seal.level is Signatures.BODIES:
            return change
        text = sign_result(key, _values(change), change.result, self._seal.namespace)
        return replace(change, meta={**change.meta, SIGNATURE: text})

    def _verified(self, record: TaskRecord) -> TaskRecord:
        plain = record
        if SIGNATURE in record.meta:
            meta = {name: value for name, value in record.meta.items() if name != SIGNATURE}
            plain = replace(record, meta=meta)
        if record.state.final:
            problem = self._problem(record)
            if problem is not None:
                raise ResultSignatureError(
                    f"the stored end of task {record.task_id} is rejected: {problem}\n"
                    "  Another program may have written it, or a worker without a key or of an earlier"
                    " release (STEM_SIGNATURES=transition accepts that)."
                )
        return plain

    def _listed(self, record: TaskRecord) -> TaskRecord:
        try:
            return self._verified(record)
        except ResultSignatureError as error:
            text = str(error).partition("\n")[0]
            return replace(
                record, result=None, reason=Reason.SIGNATURE_INVALID.value, error=text, meta={}
            )

    def _verified_member(self, group_id: str, member: MemberRecord) -> MemberRecord:
        try:
            value = open_value(self._seal, _end(group_id, member), member.value)
        except SignatureError as error:
            raise ResultSignatureError(
                f"the stored end of member {member.index} of group {group_id} is rejected: {error}\n"
                "  Another program may have written it, or a worker without a key"
                " (STEM_SIGNATURES=transition accepts that)."
            ) from error
        return replace(member, value=value)

    def _accepts_member(self, group_id: str, member: MemberRecord) -> bool:
        """Return whether the signature of a member is accepted."""
        try:
            self._verified_member(group_id, member)
        except ResultSignatureError as error:
            log.warning("ignored a message: %s", str(error).partition("\n")[0])
            return False
        return True

    def _accepts(self, change: Transition) -> bool:
        """Return whether a reply's signature is accepted."""
        problem = self._problem(change) if change.state.final else None
        if problem is not None:
            log.warning("ignored a reply for task %.100r: %s", change.task_id, problem)
        return problem is None

    def _problem(self, end: Transition | TaskRecord) -> str | None:
        """Return why a final state is rejected, or None if it is accepted."""
        seal, text = self._seal, end.meta.get(SIGNATURE)
        if seal.level is Signatures.BODIES:
            return None
        if text is None:
            return "it is not signed" if seal.signs_all else None
        try:
            verify_result(seal.ring, text, _values(end), end.result, seal.namespace)
        except SignatureError as error:
            return str(error)
        return None


def _values(end: Transition | TaskRecord) -> tuple[str, ...]:
    return (
        end.task_id,
        end.task,
        end.state.value,
        str(end.attempt),
        str(end.replay),
        _stored(end.reason),
        _stored(end.error),
    )


def _end(group_id: str, member: MemberReport | MemberRecord) -> tuple[str, ...]:
    """Return the signed fields of a member, other than its value."""
    return (
        _stored(group_id),
        str(member.index),
        _stored(member.task_id),
        member.state.value,
        _stored(member.error),
    )


def _stored(text: str | None) -> str:
    """Return a text as every store returns it."""
    return (writable(text) or "").replace("\0", "")
