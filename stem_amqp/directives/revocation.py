"""Revocations: of one task by its id, or of all that match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from typing_extensions import Unpack

from stem_amqp.clock import Clock, next_millisecond
from stem_amqp.directives.model import LONGEST, Directive, Kind, Target
from stem_amqp.durations import Duration, format_seconds, seconds, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.message import ID_BYTES


class RevokeKeywords(TypedDict, total=False):
    """The options of a revocation.

    Args:
        reason: why, for logs, signals and states; default: ``revoked``.
        terminate: also end tasks that run already: an async task is cancelled, the process of a task with
            ``executor="process"`` is killed. A thread cannot be stopped: `TimeLimitError` is raised in the
            function at its next line, and a call that blocks goes on; the worker logs it. Default: no.
        lifetime: how long it holds: seconds, or a duration such as ``"30d"``; at most 365 days. Default:
            ``STEM_REVOCATION_LIFETIME``.
        issuer: who revokes, for the history; default: ``STEM_ISSUER``, else ``user@host``.
    """

    reason: str
    terminate: bool
    lifetime: Duration
    issuer: str


class RevokeTarget(TypedDict, total=False):
    """The tasks that a revocation is for; all conditions that are given must match.

    Args:
        task: a glob of task names, such as ``orders.*``.
        queue: a glob of logical queues.
        meta: values in the tasks' metadata, compared as text: ``{"tenant": "acme"}``.
        unique_key: the ``unique_key`` that the calls were enqueued with.
        composition: the id of a composition, or of a task of it: its tasks, also those that are enqueued later.
    """

    task: str
    queue: str
    meta: Mapping[str, str]
    unique_key: str
    composition: str


class RevokeAllKeywords(RevokeTarget, RevokeKeywords, total=False):
    """The conditions and the options of a revocation of all tasks that match."""


def of_id(
    task_id: str, clock: Clock, default: float, /, **options: Unpack[RevokeKeywords]
) -> Directive:
    """Return the revocation of one task.

    Args:
        task_id: the task's id.
        clock: the time of day.
        default: how long it holds unless the options say otherwise, in seconds.
        **options: see `RevokeKeywords`.

    Raises:
        ConfigurationError: the id or an option is not valid.
    """
    given: object = task_id
    if not isinstance(given, str) or not 0 < len(given.encode(errors="replace")) <= ID_BYTES:
        raise ConfigurationError(
            f"{task_id!r:.60} is not a valid task id: use a string of 1 to {ID_BYTES} bytes"
        )
    return _directive(Target(id=task_id), None, clock, default, options)


def of_all(clock: Clock, default: float, /, **options: Unpack[RevokeAllKeywords]) -> Directive:
    """Return the revocation of all tasks that match and were enqueued before now.

    Of a composition also the tasks that are enqueued later.

    Args:
        clock: the time of day.
        default: how long it holds unless the options say otherwise, in seconds.
        **options: at least one condition; see `RevokeAllKeywords`.

    Raises:
        ConfigurationError: there is no condition, or a condition or an option is not valid.
    """
    target = target_of(options)
    before = None if target.composition is not None else next_millisecond(clock.time())
    return _directive(target, before, clock, default, options)


def target_of(given: RevokeTarget) -> Target:
    """Return the target that conditions describe.

    Raises:
        ConfigurationError: there is no condition, or one is not valid.
    """
    for name in ("task", "queue", "unique_key", "composition"):
        value = given.get(name)
        if name in given and (not isinstance(value, str) or not value):
            raise ConfigurationError(f"{name} must be a text that is not empty, not {shown(value)}")
    composition = given.get("composition")
    if composition is not None and not composition.partition(".")[0]:
        raise ConfigurationError(
            f"composition must be the id of a composition, or of a task of it, not {shown(composition)}"
        )
    meta: Any = given.get("meta", {})
    if not isinstance(meta, Mapping) or not all(
        isinstance(key, str) and key and isinstance(value, str) for key, value in meta.items()
    ):
        raise ConfigurationError(
            f'meta must be texts by name, such as {{"tenant": "acme"}}, not {shown(meta)}'
        )
    target = Target(
        task=given.get("task"),
        queue=given.get("queue"),
        meta=dict(meta),
        unique_key=given.get("unique_key"),
        composition=None if composition is None else composition.partition(".")[0],
    )
    if not target:
        raise ConfigurationError(
            "nothing says which tasks are revoked: give task, queue, meta, unique_key or composition\n"
            '  For all tasks of all queues: task="*"'
        )
    return target


def _directive(
    target: Target, before: float | None, clock: Clock, default: float, options: RevokeKeywords
) -> Directive:
    own = options.get("lifetime")
    lasting = default if own is None else seconds(own)
    if not 0 < lasting <= LONGEST:
        raise ConfigurationError(
            f"a revocation must hold for more than 0 s and at most {format_seconds(LONGEST)},"
            f" not {shown(own)}"
        )
    return Directive(
        kind=Kind.REVOKE,
        target=target,
        before=before,
        terminate=options.get("terminate", False),
        reason=options.get("reason") or "revoked",
        by=options.get("issuer", ""),
        expires=round(clock.time() + lasting, 3),
    )
