"""The options that every command has."""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypedDict

from stem_amqp.directives.revocation import RevokeTarget
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.commands import checked_issuer
from stem_amqp.settings import Settings

MARGIN = 1.0
"""Seconds in addition to the interval of heartbeats: a worker whose event loop is blocked is then known."""


LONGEST = 255
"""The most characters of a queue or a glob."""


class CommandKeywords(TypedDict, total=False):
    """The options of every command.

    queues: the logical queues whose workers are meant, one or several; default: all.
    workers: globs of the names of the workers that are meant, such as ``"web-*"``; default: all.
    timeout: how long to wait for answers; default: a second more than the interval of heartbeats.
    issuer: who sends the command; default: STEM_ISSUER, else ``user@host``.
    """

    queues: str | Sequence[str]
    workers: str | Sequence[str]
    timeout: Duration
    issuer: str


class LastingKeywords(TypedDict, total=False):
    """The options of every command that lasts.

    workers, timeout, issuer: as in `CommandKeywords`.
    reason: why, for the history.
    lifetime: how long it holds, such as ``"2h"``; default: until it is ended.
    """

    workers: str | Sequence[str]
    timeout: Duration
    issuer: str
    reason: str
    lifetime: Duration


class RevokeManyKeywords(RevokeTarget, LastingKeywords, total=False):
    """The options of a revocation of all tasks that match; all conditions that are given must match.

    task: a glob of task names, such as ``orders.*``.
    queue: a glob of logical queues.
    meta: values in the tasks' metadata, compared as text: ``{"tenant": "acme"}``.
    unique_key: the ``unique_key`` that the calls were enqueued with.
    composition: the id of a composition, or of a task of it: its tasks, also those that are enqueued later.
    workers, timeout, issuer, reason, lifetime: as in `LastingKeywords`.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class To:
    """The checked options of a command.

    Args:
        queues: the logical queues.
        workers: globs of names of workers.
        timeout: seconds to wait for answers.
        issuer: who sends it.
    """

    queues: tuple[str, ...]
    workers: tuple[str, ...]
    timeout: float
    issuer: str

    @classmethod
    def of(cls, keywords: CommandKeywords, settings: Settings) -> Self:
        """Check the options.

        Args:
            keywords: the options as they are given.
            settings: the application's settings, for the defaults.

        Raises:
            ConfigurationError: an option is unknown, or its value is not valid.
        """
        unknown = keywords.keys() - CommandKeywords.__annotations__.keys()
        if unknown:
            raise ConfigurationError(
                f"a command has no option {min(unknown)!r}\n"
                f"  It has {', '.join(CommandKeywords.__annotations__)}."
            )
        timeout = keywords.get("timeout")
        wait = settings.heartbeat_interval + MARGIN if timeout is None else seconds(timeout)
        if wait <= 0:
            raise ConfigurationError(f"a timeout must be more than 0 s, not {wait:g} s")
        return cls(
            queues=_texts("queues", keywords.get("queues", ())),
            workers=_texts("workers", keywords.get("workers", ())),
            timeout=wait,
            issuer=checked_issuer(keywords.get("issuer") or settings.issuer or default_issuer()),
        )

    def header(self, at: float) -> dict[str, Any]:
        """Return the fields that every order has, with a nonce of its own.

        Args:
            at: when it is sent, in seconds since the epoch.
        """
        return {
            "nonce": secrets.token_urlsafe(12),
            "issuer": self.issuer,
            "at": round(at, 3),
            "deadline": round(at + self.timeout, 3),
            "queues": self.queues,
            "workers": self.workers,
        }


def default_issuer() -> str:
    """Return ``user@host`` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _texts(name: str, value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(text, str) and 0 < len(text) <= LONGEST for text in texts):
        raise ConfigurationError(
            f"{name} must be texts of 1 to {LONGEST} characters, not {value!r:.80}"
        )
    return tuple(dict.fromkeys(texts))
