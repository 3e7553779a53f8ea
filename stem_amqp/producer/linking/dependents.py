"""What waits for single tasks that were enqueued before: registered in a key, and told when the task has ended."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import orjson

from stem_amqp.errors import ConfigurationError, SignatureError
from stem_amqp.messages.links import DEFAULT_TTL
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.groups.model import MemberReport
from stem_amqp.signing.group import open_value, sign_value
from stem_amqp.signing.seal import Seal
from stem_amqp.states import TaskState

log = logging.getLogger("stem_amqp.producer")

Report = Callable[[MemberReport], Awaitable[None]]
_NO_VALUE = b"?"
"""A value that no key has: so a swap only reads."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A group that counts a task's end as the end of a member.

    Args:
        task_id: the task.
        group: the group.
        index: the member's index.
        ttl: seconds for which the group is kept.
    """

    task_id: str
    group: str
    index: int
    ttl: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A wait in the key of a task.

    Args:
        group: the group.
        index: the member's index.
        signature: shows that a process with a key has registered the wait; None: it is not signed.
    """

    group: str
    index: int
    signature: str | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """The value of a task's key: who waits, and how the task has ended; no state: it has not.

    It has the result, with its signature, since the end is told before the task's record is stored.
    """

    waiting: tuple[_Waiting, ...] = ()
    state: TaskState | None = None
    value: str | None = None
    error: str | None = None

    def encode(self) -> bytes:
        state = None if self.state is None else self.state.value
        waiting = [(one.group, one.index, one.signature) for one in self.waiting]
        data = {"to": waiting, "state": state, "value": self.value, "error": self.error}
        return orjson.dumps(data)

    @classmethod
    def decode(cls, value: bytes | None) -> _Entry:
        if value is None:
            return cls()
        try:
            data = orjson.loads(value)
            waiting = tuple(_Waiting(*one) for one in data["to"])
            state = None if data["state"] is None else TaskState(data["state"])
            return cls(waiting, state, data["value"], data["error"])
        except (ValueError, TypeError, KeyError) as error:
            log.error("the dependents of a task cannot be read, and are forgotten: %r", error)  # noqa: TRY400 - the text says all
            return cls()


class Dependents:
    """Tells those that wait for a task that it has ended.

    The task's key is made before its message is published. A wait and the task's end change it one after the
    other: so either the end finds the wait, or the wait finds the end. Each step can be repeated.

    With keys, the end and each wait are signed: what another program writes into the key has no effect.

    Args:
        backend: the result backend; it keeps keys.
        seal: signs and verifies; None without keys.
        report: reports the end of a member of a group, and goes on after the group.
    """

    def __init__(self, backend: ResultBackend, seal: Seal | None, report: Report) -> None:
        self._backend = backend
        self._seal = seal
        self._report = report

    async def open(self, task_id: str) -> None:
        """Let others wait for a task that is published next; repeating is safe.

        Raises:
            ConfigurationError: the backend does not keep keys.
            BackendUnavailableError: the key may not be stored.
        """
        check_keeps_keys(self._backend)
        await self._backend.swap_key(
            _key(task_id), task_id, ttl=DEFAULT_TTL, expected=None, value=_Entry().encode()
        )

    async def wait_for(self, watch: Watch) -> None:
        """Let a group count the end of a task; at once, if it has ended.

        Raises:
            ConfigurationError: nobody can wait for the task.
            BackendUnavailableError: the wait may not be stored.
        """
        check_keeps_keys(self._backend)
        own, entry = self._signed_wait(watch), _Entry()
        found = await self._swap(watch.task_id, watch.ttl, _NO_VALUE, _NO_VALUE)
        while found is not None:
            entry = _Entry.decode(found)
            waiting = entry.waiting if own in entry.waiting else (*entry.waiting, own)
            entry = replace(entry, waiting=waiting)
            value = entry.encode()
            stored = await self._swap(watch.task_id, watch.ttl, found, value)
            if stored == value:
                break
            found = stored
        if found is None:
            await self._tell_stored(watch)
        elif entry.state is not None and self._is_genuine(watch.task_id, entry):
            await self._tell(watch.task_id, own, entry)

    async def _tell_stored(self, watch: Watch) -> None:
        """Tell how a task without a key has ended."""
        await self._backend.release_key(_key(watch.task_id), watch.task_id)
        record = await self._backend.get(watch.task_id)
        if record is None or not record.state.final:
            raise ConfigurationError(
                f"nothing can depend on task {watch.task_id}: it was not enqueued with allow_dependents(), or that"
                " was too long ago.\n  Enqueue it as task.s(…).allow_dependents(), make it a member of the graph, or"
                " enqueue the graph when it has ended."
            )
        entry = self._signed_end(watch.task_id, record.state, record.result, record.error)
        await self._tell(watch.task_id, self._signed_wait(watch), entry)

    async def ended(
        self, task_id: str, state: TaskState, *, value: bytes | None, error: str | None
    ) -> None:
        """Tell those that wait that a task has ended; repeating is safe.

        Args:
            task_id: the task.
            state: its final state.
            value: the JSON text of its result, if it succeeded.
            error: why it ended otherwise.
        """
        end, found = self._signed_end(task_id, state, value, error), None
        while True:
            before = _Entry.decode(found)
            # As in a group, a success is the last word
            succeeded = before.state is TaskState.SUCCEEDED and self._is_genuine(task_id, before)
            last = before if succeeded else end
            entry = replace(last, waiting=before.waiting)
            changed = entry.encode()
            stored = await self._swap(task_id, DEFAULT_TTL, found, changed)
            if stored == changed:
                break
            found = stored
        for waiting in entry.waiting:
            await self._tell(task_id, waiting, entry)

    async def _tell(self, task_id: str, waiting: _Waiting, entry: _Entry) -> None:
        state = entry.state or TaskState.FAILED
        failed = state is not TaskState.SUCCEEDED
        if not self._is_wanted(task_id, waiting):
            return
        report = MemberReport(
            group_id=waiting.group,
            index=waiting.index,
            task_id=task_id,
            state=state,
            value=self._opened(_end(task_id, entry), entry.value),
            error=entry.error or f"{task_id} {state.value}" if failed else None,
        )
        await self._report(report)

    def _signed_wait(self, watch: Watch) -> _Waiting:
        signed = self._closed(_wait(watch.task_id, watch.group, watch.index), None)
        return _Waiting(watch.group, watch.index, signed)

    def _signed_end(
        self, task_id: str, state: TaskState, value: bytes | None, error: str | None
    ) -> _Entry:
        entry = _Entry((), state, None, error)
        return replace(entry, value=self._closed(_end(task_id, entry), value))

    def _closed(self, fields: tuple[str, ...], value: bytes | None) -> str | None:
        stored = value if self._seal is None else sign_value(self._seal, fields, value)
        return None if stored is None else stored.decode()

    def _opened(self, fields: tuple[str, ...], stored: str | None) -> bytes | None:
        value = None if stored is None else stored.encode()
        return value if self._seal is None else open_value(self._seal, fields, value)

    def _is_genuine(self, task_id: str, entry: _Entry) -> bool:
        return self._has_signature(task_id, "end", _end(task_id, entry), entry.value)

    def _is_wanted(self, task_id: str, one: _Waiting) -> bool:
        fields = _wait(task_id, one.group, one.index)
        return self._has_signature(task_id, "wait", fields, one.signature)

    def _has_signature(
        self, task_id: str, what: str, fields: tuple[str, ...], stored: str | None
    ) -> bool:
        try:
            self._opened(fields, stored)
        except SignatureError as error:
            log.error(  # noqa: TRY400 - the text says all
                "a stored %s of task %s is ignored: %s. Another program may have written it, or a process"
                " without a key (STEM_SIGNATURES=transition accepts that)",
                what,
                task_id,
                error,
            )
            return False
        return True

    async def _swap(
        self, task_id: str, ttl: float, expected: bytes | None, value: bytes
    ) -> bytes | None:
        record = await self._backend.swap_key(
            _key(task_id), task_id, ttl=max(ttl, DEFAULT_TTL), expected=expected, value=value
        )
        return record.value


def check_keeps_keys(backend: ResultBackend) -> None:
    """Check that tasks can wait for single tasks with a backend.

    Raises:
        ConfigurationError: they cannot; the text names the backends with which they can.
    """
    if not backend.keeps_keys:
        raise ConfigurationError(
            f"a task cannot have dependents with {type(backend).__name__}, which keeps no keys.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers and workers"
            " (memory:// for tests)."
        )


def _key(task_id: str) -> str:
    return f"dependents:{task_id}"


def _end(task_id: str, entry: _Entry) -> tuple[str, ...]:
    """Return the signed fields of an end, other than the result."""
    state = "" if entry.state is None else entry.state.value
    return "end", task_id, state, entry.error or ""


def _wait(task_id: str, group: str, index: int) -> tuple[str, ...]:
    """Return the signed fields of a wait."""
    return "wait", task_id, group, str(index)
