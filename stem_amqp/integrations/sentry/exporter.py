"""The exporter that reports to the Sentry client of the process."""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sentry_sdk
from sentry_sdk.scope import Scope, use_isolation_scope, use_scope
from typing_extensions import override

from stem_amqp.clock import parse_timestamp
from stem_amqp.integrations.sentry.event import capture
from stem_amqp.integrations.sentry.monitors import check_in_end, check_in_error, check_in_start
from stem_amqp.integrations.sentry.tracing import (
    IDENTIFIER,
    add_current_trace,
    begin_bulk,
    begin_publish,
    continue_trace,
    continued,
    has_transactions,
    is_active,
    status_of,
)
from stem_amqp.messages.message import HISTORY
from stem_amqp.observability import Bulk, Delivered, End, Exporter, Publishing
from stem_amqp.outcome import Dead, Failure, Outcome
from stem_amqp.states import Reason
from stem_amqp.worker.report.quota import Quota

REFUSALS, PERIOD = 20, 10.0
"""The maximum number of events about refused messages in a number of seconds: any client that may
publish can cause them."""
FLUSH_LIMIT = 2.0
"""The maximum number of seconds in which buffered events are sent at the exit."""


@dataclass(slots=True, eq=False)
class _Run:
    """A run, from its start until its outcome is settled.

    Args:
        delivered: its message.
        entered: what is left at the end of the run.
        isolation: its isolation scope.
        current: its current scope.
        transaction: its transaction; None without one.
    """

    delivered: Delivered
    entered: ExitStack
    isolation: Any
    current: Any
    transaction: Any = None


_run: ContextVar[_Run | None] = ContextVar("stem_amqp_sentry_run", default=None)
"""The run of the current asyncio task: the task's reports are made in it, and it ends with it."""


class SentryExporter(Exporter):
    """Reports to the current Sentry client, if that has the integration."""

    def __init__(self) -> None:
        self._refusals = Quota(REFUSALS, PERIOD)

    @override
    def publishing(self, publishing: Publishing) -> End | None:
        if not is_active() or publishing.bulk is not None:
            return None
        return begin_publish(publishing)

    @override
    def publishing_many(self, bulk: Bulk) -> End | None:
        return begin_bulk(bulk) if is_active() else None

    @override
    def started(self, delivered: Delivered) -> None:
        if not is_active():
            return
        name = _name(delivered)
        run = _enter(delivered)
        try:
            if has_transactions():
                run.transaction = run.entered.enter_context(
                    sentry_sdk.start_transaction(
                        continued(delivered, name),
                        custom_sampling_context={IDENTIFIER: _about(delivered)},
                    )
                )
            else:
                continue_trace(delivered.headers, name)
        finally:
            run.current = sentry_sdk.get_current_scope()
            _run.set(run)
        check_in_start(delivered)

    @override
    def sent_to_child(self, delivered: Delivered) -> None:
        if not is_active():
            return
        trace: dict[str, str] = {}
        add_current_trace(trace)
        delivered.carried = {**trace, **(delivered.carried or {})}

    @override
    def run_in_child(self, delivered: Delivered) -> None:
        if not is_active():
            return
        # Runs follow each other in one asyncio task, and their end is reported in the worker
        _leave(_run.get())
        run = _enter(delivered)
        continue_trace(delivered.carried or {}, _name(delivered))
        _run.set(run)

    @override
    def ended(self, delivered: Delivered, outcome: Outcome) -> None:
        run = _run_of(delivered)
        if run is None:
            return
        if run.transaction is not None:
            run.transaction.set_status(status_of(outcome))
            # Leaving the transaction resets the span of its scope; the event belongs to that span
            run.current = run.current.fork()
        _leave(run)

    @override
    def settled(self, delivered: Delivered, outcome: Outcome, at: float) -> None:
        if isinstance(outcome, Dead) and not outcome.expected:
            self._failed(delivered, outcome.reason, outcome.failure)
        check_in_end(delivered, outcome)
        self._forget(delivered)

    @override
    def settle_refused(self, delivered: Delivered, error: str) -> None:
        failure = getattr(delivered.outcome, "failure", None) or Failure(error=error)
        self._failed(delivered, Reason.REJECTED, failure)
        check_in_error(delivered)
        self._forget(delivered)

    @override
    def worker_failed(self, delivered: Delivered, error: BaseException) -> None:
        failure = Failure(error=str(type(error).__name__), exception=error)
        self._failed(delivered, Reason.WORKER_FAILED, failure)
        check_in_error(delivered)
        self._forget(delivered)

    @override
    def exiting(self) -> None:
        sentry_sdk.flush(timeout=FLUSH_LIMIT)

    def _failed(self, delivered: Delivered, reason: Reason, failure: Failure) -> None:
        """Send an event with the tags, breadcrumbs and trace of the run."""
        if not is_active() or (delivered.untrusted and not self._refusals.take()):
            return
        run = _run_of(delivered)
        if run is not None:
            with use_isolation_scope(run.isolation), use_scope(run.current):
                capture(delivered, reason.value, failure)
            return
        run = _enter(delivered)  # a message that cannot run, such as one of an unknown task
        try:
            continue_trace(delivered.headers, _name(delivered))
            capture(delivered, reason.value, failure)
        finally:
            _leave(run)

    @staticmethod
    def _forget(delivered: Delivered) -> None:
        run = _run_of(delivered)
        if run is not None:
            _leave(run)
            _run.set(None)


def _run_of(delivered: Delivered) -> _Run | None:
    run = _run.get()
    return run if run is not None and run.delivered is delivered else None


def _enter(delivered: Delivered) -> _Run:
    """Enter a scope of its own for a message, with nothing of other tasks but what all have."""
    entered = ExitStack()
    scope = _fork_scopes(entered)
    run = _Run(delivered, entered, scope, sentry_sdk.get_current_scope())
    scope.clear_breadcrumbs()
    scope.set_transaction_name(_name(delivered), source="task")
    about = _about(delivered)
    for name, value in about.items():
        scope.set_tag(f"stem.{name}", str(value))
    message = delivered.message
    if message is not None:
        request_id = message.meta.get("request_id")
        if request_id is not None:
            scope.set_tag("request_id", str(request_id))
        about |= {
            "root": message.root,
            "parent": message.parent,
            "enqueued_at": message.enqueued_at,
        }
    scope.set_context(
        IDENTIFIER, {**about, "replays": delivered.replay, "redelivered": delivered.redelivered}
    )
    _add_history(scope, delivered)
    return run


def _fork_scopes(entered: ExitStack) -> Scope:
    """Set a fork of both scopes, to be set back at exit; return the isolation scope.

    The last run of a child process is never left. `sentry_sdk.isolation_scope` is a generator, which would
    then end when it is collected: in another context, where it cannot set the scopes back.
    """
    isolation, current = Scope.get_isolation_scope(), Scope.get_current_scope()
    entered.callback(Scope.set_isolation_scope, isolation)
    entered.callback(Scope.set_current_scope, current)
    forked = isolation.fork()
    Scope.set_isolation_scope(forked)
    Scope.set_current_scope(current.fork())
    return forked


def _leave(run: _Run | None) -> None:
    if run is not None:
        run.entered.close()


def _about(delivered: Delivered) -> dict[str, Any]:
    about: dict[str, Any] = {"queue": delivered.queue, "attempt": delivered.attempt}
    if delivered.message is not None:
        about |= {"task": delivered.message.task, "task_id": delivered.message.id}
    return about


def _name(delivered: Delivered) -> str:
    return delivered.message.task if delivered.message is not None else "an unread message"


def _add_history(scope: Any, delivered: Delivered) -> None:
    """Add a breadcrumb for each failed run before this one, which may have been in another process."""
    history = delivered.headers.get(HISTORY)
    for text in history if isinstance(history, list) else ():
        if not isinstance(text, str):
            continue
        crumb: dict[str, Any] = {"category": "stem.retry", "level": "warning", "message": text}
        at, _, rest = text.partition(" ")
        try:
            crumb["timestamp"] = datetime.fromtimestamp(parse_timestamp(at), UTC)
        except ValueError:
            pass
        else:
            crumb["message"] = f"attempt {rest.removeprefix('#').replace(' ', ' failed: ', 1)}"
        scope.add_breadcrumb(crumb)
