"""The Sentry event of a task that failed for good."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

import sentry_sdk
from sentry_sdk.scope import should_send_default_pii
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.utils import event_from_exception

from stem_amqp.integrations.sentry.tracing import IDENTIFIER
from stem_amqp.observability import Delivered
from stem_amqp.outcome import Failure
from stem_amqp.worker.running.failure import has_short_chain

MECHANISM = {"type": IDENTIFIER, "handled": False}
_FRAME = re.compile(r'^  File "(.+)", line (\d+), in (.+)$', re.MULTILINE)
"""A frame in the text of a traceback."""
_BEGIN = "Traceback (most recent call last):\n"


def capture(delivered: Delivered, reason: str, failure: Failure) -> None:
    """Send the event of a failure, in the current scope.

    Args:
        delivered: the message.
        reason: why it is a dead letter.
        failure: how its run failed.
    """
    error = failure.exception
    event: Any
    if error is not None and has_short_chain(error):
        event, hint = _of_exception(error)
    else:
        event, hint = _of_text(delivered, reason, failure), {}
        if _is_ignored(event):
            return
    event["level"] = "error"
    event["logger"] = IDENTIFIER
    event["tags"] = {"stem.reason": reason}
    if delivered.message is not None and _sends_arguments():
        event["extra"] = {"arguments": _scrubbed(delivered.message.args)}
    sentry_sdk.capture_event(event, hint)


def _of_exception(error: BaseException) -> tuple[Any, dict[str, Any]]:
    options = sentry_sdk.get_client().options
    event, hint = event_from_exception(error, client_options=options, mechanism=MECHANISM)
    for value in event.get("exception", {}).get("values", ()):
        for frame in (value.get("stacktrace") or {}).get("frames", ()):
            if str(frame.get("module")).startswith("stem_amqp."):
                # The worker's own variables contain the arguments and the message
                frame.pop("vars", None)
                frame["in_app"] = False
    return event, hint


def _of_text(delivered: Delivered, reason: str, failure: Failure) -> dict[str, Any]:
    """Return the event of a failure whose exception is known as text, or that had none."""
    if not failure.traceback:
        name = delivered.message.task if delivered.message is not None else delivered.queue
        return {
            "message": f"{name} is dead-lettered: {reason}: {failure.error}",
            "fingerprint": [IDENTIFIER, name, reason],
        }
    kind, _, text = failure.error.partition(": ")
    module, _, name = kind.rpartition(".")
    value: dict[str, Any] = {"type": name, "value": text, "mechanism": MECHANISM}
    if module:
        value["module"] = module
    frames = list(_frames(failure.traceback))
    if frames:
        value["stacktrace"] = {"frames": frames}
    contexts = {"traceback": {"text": failure.traceback}}
    return {"exception": {"values": [value]}, "contexts": contexts}


def _frames(traceback: str) -> Iterator[dict[str, Any]]:
    """Yield the frames of the last exception in a traceback."""
    last = traceback.rpartition(_BEGIN)[2]
    for found in _FRAME.finditer(last):
        path, line, function = found.groups()
        yield {"filename": path, "abs_path": path, "lineno": int(line), "function": function}


def _is_ignored(event: Mapping[str, Any]) -> bool:
    """Return whether ``ignore_errors`` contains the type; the SDK itself needs the exception."""
    for value in event.get("exception", {}).get("values", ()):
        name = value["type"]
        names = {name, f"{value.get('module', 'builtins')}.{name}"}
        ignored: Any
        for ignored in sentry_sdk.get_client().options.get("ignore_errors") or ():
            text = isinstance(ignored, str)
            known = ignored if text else f"{ignored.__module__}.{ignored.__qualname__}"
            if known in names:
                return True
    return False


def _sends_arguments() -> bool:
    collection = sentry_sdk.get_client().options.get("data_collection")
    if collection and collection.get("provided_by_user"):  # it replaces send_default_pii
        return bool(collection.get("queues"))
    return should_send_default_pii()


def _scrubbed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of arguments without the values of names that may be secret."""
    copied = copy.deepcopy(dict(arguments))
    own = sentry_sdk.get_client().options.get("event_scrubber")
    names = own.denylist if isinstance(own, EventScrubber) else None
    # The client's own scrubber looks only at the first level
    EventScrubber(denylist=names, recursive=True, send_default_pii=True).scrub_dict(copied)
    return copied
