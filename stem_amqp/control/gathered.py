"""What came of a command: the answers of workers, and who did not answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer(Generic[T]):
    """The answer of one worker.

    Args:
        worker: its name.
        host: its host.
        pid: the id of its process.
        seconds: the time from the command to its answer.
        value: the result; None if it did not carry out the command.
        error: why it did not; None if it did.
    """

    worker: str
    host: str = ""
    pid: int = 0
    seconds: float = 0.0
    value: T | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unanswered:
    """A worker that was meant, and has not answered in time.

    Args:
        worker: its name.
        host: its host.
        pid: the id of its process.
        why: what is known about it.
    """

    worker: str
    host: str = ""
    pid: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers(Generic[T]):
    """What came of a command; iterating yields the answers.

    Args:
        command: what it asked for.
        nonce: its own id, which the logs of workers have too.
        issuer: who sent it.
        at: when it was sent, in seconds since the epoch.
        answers: the answers, by the workers' names.
        unanswered: the known workers that have not answered in time.
        silent: by logical queue, the number of consumers whose worker is not known: it has sent neither an
            answer nor a heartbeat.
        stored: where the command is kept for workers that start later; empty if it does not last.
    """

    command: str
    nonce: str
    issuer: str
    at: float
    answers: tuple[Answer[T], ...] = ()
    unanswered: tuple[Unanswered, ...] = ()
    silent: Mapping[str, int] = field(default_factory=dict)
    stored: str = ""

    def __iter__(self) -> Iterator[Answer[T]]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def failed(self) -> tuple[Answer[T], ...]:
        """The answers of workers that did not carry out the command."""
        return tuple(answer for answer in self.answers if answer.error is not None)

    @property
    def complete(self) -> bool:
        """Whether every known worker that was meant has answered."""
        return not self.unanswered and not self.silent

    @property
    def values(self) -> dict[str, T]:
        """The results by worker, of those that carried it out."""
        return {one.worker: one.value for one in self.answers if one.value is not None}
