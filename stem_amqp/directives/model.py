"""One directive: what is ordered, for which tasks or queues, by whom, and for how long."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Self

import orjson

from stem_amqp.errors import ConfigurationError, DecodeError
from stem_amqp.messages.commands import COMMAND_BYTES, DIRECTIVE, REASON_BYTES
from stem_amqp.messages.message import ID_BYTES, TaskMessage, shortened
from stem_amqp.tasks.unique import key_of

VERSION = 1
"""The version of the format; a reader keeps directives of later versions and does not obey them."""
LONGEST = 365 * 86_400.0
"""The longest lifetime of a revocation, and how long a withdrawal is kept, in seconds."""
_NONCE_BYTES = 9


class Kind(StrEnum):
    """The kinds of directives that this release obeys; it keeps those of later releases."""

    REVOKE = "revoke"
    PAUSE = "pause"
    RATE_LIMIT = "rate-limit"
    CONCURRENCY = "concurrency"
    LOG_LEVEL = "log-level"
    BREAKER = "breaker"
    """A pause that a worker issues, because too many runs failed; its value is the breaker's state."""
    SCHEDULE_PAUSE = "schedule-pause"
    """The schedulers publish no tick of a schedule; its name, or a glob of names, is the target's name."""
    HELD = "held"
    """Messages of a paused task wait in a queue of their own, and are consumed once it is resumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a directive is for; a field that is not set matches everything, and all set ones must match.

    Args:
        id: the id of one task.
        task: a glob of task names, such as ``orders.*``.
        queue: a glob of logical queues.
        meta: values in the metadata of a message, compared as text.
        unique_key: the ``unique_key`` of a call.
        composition: the id of a composition: all of its tasks, also those that are enqueued later.
        name: the name of a limit or of a schedule.
    """

    id: str | None = None
    task: str | None = None
    queue: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    unique_key: str | None = None
    composition: str | None = None
    name: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields that are set, as JSON values."""
        values = {
            "id": self.id,
            "task": self.task,
            "queue": self.queue,
            "meta": dict(sorted(self.meta.items())) or None,
            "unique_key": self.unique_key,
            "composition": self.composition,
            "name": self.name,
        }
        return {name: value for name, value in values.items() if value is not None}

    def __bool__(self) -> bool:
        return bool(self.fields())

    def __str__(self) -> str:
        parts = []
        for name, value in self.fields().items():
            if name == "meta":
                parts += [f"meta.{key}={text}" for key, text in value.items()]
            else:
                parts.append(f"{name.replace('_', '-')} {value}")
        return ", ".join(parts) or "everything"

    def matches(self, message: TaskMessage, queue: str, namespace: str) -> bool:
        """Return whether a message is meant.

        Args:
            message: the message.
            queue: the logical queue that it is in.
            namespace: the application's namespace, of which unique keys are made.
        """
        return (
            (self.id is None or self.id == message.id)
            and (self.task is None or fnmatchcase(message.task, self.task))
            and (self.queue is None or fnmatchcase(queue, self.queue))
            and all(_same(message.meta.get(key), value) for key, value in self.meta.items())
            and (self.unique_key is None or self._has_key(message, namespace))
            and (self.composition is None or self.composition == _composition_of(message))
        )

    def _has_key(self, message: TaskMessage, namespace: str) -> bool:
        found = message.options.get("unique_key")
        return found is not None and found in {
            self.unique_key,
            key_of(namespace, message.task, self.unique_key or ""),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Directive:
    """A decision of an operator that holds until it expires or is withdrawn.

    Of two directives with the same `identity`, the later one holds (`order`). A withdrawal, such as the
    resume of a paused queue, is a later directive of the same identity with ``withdrawn``.

    Args:
        kind: a `Kind`, or a text that a later release knows.
        target: the tasks, the queues or the limit.
        value: the new value, such as ``"10/s"``; None where the kind needs none.
        before: for revocations: only messages that were enqueued before this time, seconds since the epoch.
        workers: globs of workers' names; none: all workers.
        terminate: for revocations: also end tasks that run already.
        reason: why, for logs and states.
        by: who issued it.
        at: when it was issued, seconds since the epoch; later than every directive that it replaces.
        nonce: a text that no other directive has.
        expires: when it ends, seconds since the epoch; None: when it is withdrawn.
        withdrawn: whether it ends the earlier directives of its identity.
        store: where it was stored, such as ``rabbitmq``; empty if it is not stored.
    """

    kind: str
    target: Target = field(default_factory=Target)
    value: Any = field(default=None, hash=False)
    before: float | None = None
    workers: tuple[str, ...] = ()
    terminate: bool = False
    reason: str = ""
    by: str = ""
    at: float = 0.0
    nonce: str = ""
    expires: float | None = None
    withdrawn: bool = False
    store: str = ""

    @property
    def identity(self) -> tuple[str, bytes]:
        """What a later directive must have in common to replace this one."""
        fields = [self.target.fields(), sorted(self.workers)]
        return self.kind, orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)

    @property
    def order(self) -> tuple[float, str]:
        """The order of directives of one identity: the last one holds."""
        return self.at, self.nonce

    @property
    def kept_until(self) -> float | None:
        """When it can be forgotten, seconds since the epoch; None: when it is replaced.

        A withdrawal is kept as long as an earlier copy of what it withdrew may come back.
        """
        if self.withdrawn:
            return max(self.at + LONGEST, self.expires or 0.0)
        return self.expires

    def holds(self, worker: str, now: float) -> bool:
        """Return whether a worker must obey it now.

        Args:
            worker: the worker's name; empty: any worker.
            now: seconds since the epoch.
        """
        return (
            not self.withdrawn
            and (self.expires is None or self.expires > now)
            and (
                not self.workers or not worker or any(fnmatchcase(worker, g) for g in self.workers)
            )
        )

    def revokes(self, message: TaskMessage, queue: str, namespace: str) -> bool:
        """Return whether a revocation is for a message; see `Target.matches`."""
        if self.before is not None:
            enqueued = message.enqueued_time
            if enqueued is None or enqueued >= self.before:
                return False
        return self.target.matches(message, queue, namespace)

    def encode(self) -> bytes:
        """Write the directive, as it is signed, stored and sent.

        Raises:
            ConfigurationError: it is too large, or its value is not a JSON value.
        """
        fields = {
            "command": "directive",
            "v": VERSION,
            "kind": str(self.kind),
            "target": self.target.fields() or None,
            "value": self.value,
            "before": self.before,
            "workers": list(self.workers) or None,
            "terminate": self.terminate or None,
            "reason": shortened(self.reason, REASON_BYTES) or None,
            "by": shortened(self.by, ID_BYTES) or None,
            "at": self.at,
            "nonce": self.nonce,
            "expires": self.expires,
            "withdrawn": self.withdrawn or None,
            "store": self.store or None,
        }
        try:
            body = orjson.dumps({name: one for name, one in fields.items() if one is not None})
        except TypeError as error:
            raise ConfigurationError(f"the directive cannot be written as JSON: {error}") from error
        if len(body) > COMMAND_BYTES:
            raise ConfigurationError(
                f"the directive has {len(body)} bytes, and {COMMAND_BYTES} are allowed\n"
                "  Use shorter names, or fewer workers and metadata values"
            )
        return body

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a directive.

        Args:
            body: the bytes; fields that this release does not know are ignored.

        Raises:
            DecodeError: it is malformed, too large, or of a later version.
        """
        if len(body) > COMMAND_BYTES:
            raise DecodeError(
                f"a directive can have at most {COMMAND_BYTES} bytes, not {len(body)}", b""
            )
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise DecodeError(f"the directive is not JSON: {error}", body) from error
        if not isinstance(data, dict) or data.get("command") != "directive":
            raise DecodeError("it is not a directive", body)
        if data.get("v") != VERSION:
            raise DecodeError(f"the directive has version {data.get('v')!r:.20}", body)
        read = _Reader(data, body)
        return cls(
            kind=read.text("kind"),
            target=_target(read.mapping("target"), body),
            value=data.get("value"),
            before=read.number("before"),
            workers=read.texts("workers"),
            terminate=data.get("terminate") is True,
            reason=shortened(read.text("reason", ""), REASON_BYTES),
            by=read.text("by", ""),
            at=read.number("at") or 0.0,
            nonce=read.text("nonce"),
            expires=read.number("expires"),
            withdrawn=data.get("withdrawn") is True,
            store=read.text("store", ""),
        )


def new_nonce() -> str:
    """Return a text that no other directive has."""
    return secrets.token_urlsafe(_NONCE_BYTES)


def _composition_of(message: TaskMessage) -> str | None:
    return None if message.links is None else message.links.composition


def _same(found: Any, wanted: str) -> bool:
    if found is None:
        return False
    return (found if isinstance(found, str) else orjson.dumps(found).decode()) == wanted


def _target(fields: Mapping[str, Any], body: bytes) -> Target:
    read = _Reader(fields, body)
    meta = {key: value for key, value in read.mapping("meta").items() if isinstance(value, str)}
    known = {"id", "task", "queue", "meta", "unique_key", "composition", "name"}
    if not fields.keys() <= known or len(meta) != len(read.mapping("meta")):
        # a condition that is ignored would make the directive match more than was meant
        raise DecodeError("the directive has a target that this release does not know", body)
    given = {name: read.text(name) for name in sorted(known - {"meta"}) if name in fields}
    return Target(meta=meta, **given)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads fields of a type, or raises."""

    data: Mapping[str, Any]
    body: bytes

    def text(self, name: str, default: str | None = None) -> str:
        value = self.data.get(name, default)
        if not isinstance(value, str) or (default is None and not value):
            raise DecodeError(f"the field {name!r} of the directive must be a text", self.body)
        return value

    def number(self, name: str) -> float | None:
        value = self.data.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise DecodeError(f"the field {name!r} of the directive must be a number", self.body)
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.data.get(name) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise DecodeError(f"the field {name!r} of the directive must be texts", self.body)
        return tuple(value)

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.data.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise DecodeError(f"the field {name!r} of the directive must be an object", self.body)
        return value


TYPE = DIRECTIVE
"""AMQP ``type`` of a directive on the control exchange."""
