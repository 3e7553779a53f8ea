"""The contract of a limit store: who may start now, and when those who may not should ask again.

A worker asks before it starts a task. An `Ask` names every limit that applies, and is decided as a
whole: it takes from all of them, or waits. Many asks are one round trip::

    batcher = LimitBatcher(store)
    verdict = await batcher.ask(Ask(token=f"{task_id}/{attempt}", wants=(wanted,)))
    if verdict.wait == 0:
        ...  # start; afterwards release verdict.lease, if there is one
    else:
        ...  # the message waits in the broker for verdict.wait seconds

What happens after the wait depends on `Verdict.reserved`:

- True: the start at `Verdict.at` belongs to this token. If the message is back by `GRACE` seconds after
  that time, it starts without another ask; if it is later, it asks anew.
- False: the token asks again after the wait, with ``waited=True``, so that it goes before tokens that have
  not waited yet.

Asking again with the same token is always safe: it returns the start or the lease that the token has,
and takes nothing a second time.

Rules for every store:

- The time is the store's own, so that the clocks of workers need not agree.
- A batch is one round trip, and atomic: processes that ask at the same time never exceed a limit together.
- State expires by itself: a limit that nobody uses leaves nothing behind.
- A store that cannot be reached raises `BackendUnavailableError`; the ask may have been decided.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from stem_amqp.durations import Rate

GRACE = 10.0
"""Seconds after its time for which a reserved start, or one that was granted, belongs to its token."""
LEASE_TTL = 30.0
"""Seconds after which the lease of a worker that was killed ends; renew leases every third of it."""
HORIZON = 1.0
"""Seconds ahead for which starts are reserved; tokens beyond it ask again shortly before their turn.

A changed rate holds for every start that is not reserved yet, so it takes effect within this time.
"""
MINIMUM_WAIT = 0.25
"""The shortest wait for a lease, in seconds."""
MAXIMUM_WAIT = 300.0
"""The longest wait, in seconds, whatever the backlog: messages that were revoked leave gaps in it."""
KEY_LENGTH = 128
"""Characters of a key at most; of a longer one, the end is replaced by its hash."""
_HASHED = re.compile(r"~[0-9a-f]{32}$")


def limit_key(name: str, value: object = None) -> str:
    """Return the key under which a store keeps a limit: its name and the value that it is counted by.

    Args:
        name: the limit, such as ``orders.sync`` or ``crm``; not empty.
        value: the key value, such as a tenant; None for a limit that counts everything.

    Returns:
        At most 128 printable characters, which differ for different names and values.
    """
    # With the length of a name that has colons itself
    text = f":{len(name)}:{name}" if ":" in name else name
    if value is not None:
        text += f":{value}"
    if len(text) <= KEY_LENGTH and text.isprintable() and not _HASHED.search(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    start = "".join(letter if letter.isprintable() else "?" for letter in text[: KEY_LENGTH - 33])
    return f"{start}~{digest}"


def key_parts(key: str) -> tuple[str, str | None]:
    """Return the name and the value of a key of `limit_key`; long ones end with a hash.

    Args:
        key: the key.
    """
    length, _, rest = key[1:].partition(":")
    if key.startswith(":") and length.isdecimal():
        name, value = rest[: int(length)], rest[int(length) :]
        return name, value[1:] if value.startswith(":") else None
    name, separator, value = key.partition(":")
    return name, value if separator else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One limit that applies to a start.

    Args:
        key: the limit and its key value, see `limit_key`.
        rate: the most starts in a period; None for no rate.
        burst: starts that may happen at once after a pause; 1 spreads all of them evenly.
        concurrency: the most leases at a time; None for no such limit.
    """

    key: str
    rate: Rate | None = None
    burst: int = 1
    concurrency: int | None = None

    def __post_init__(self) -> None:
        if self.burst < 1 or (self.concurrency is not None and self.concurrency < 1):
            raise ValueError(f"burst and concurrency of {self.key!r} must be at least 1")

    @property
    def interval(self) -> float:
        """Seconds between two starts at the rate; 0 without a rate."""
        return 0.0 if self.rate is None else self.rate.period / self.rate.count


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """The question whether a message may start.

    Args:
        token: identifies the message and its attempt. Another start of the same message needs another
            token.
        wants: the limits that apply, each key once: all of them are taken from, or none.
        waited: whether an earlier verdict sent this token away.
        duration_hint: seconds that a run is expected to take. It counts only until the limit has seen a run
            end.
    """

    token: str
    wants: tuple[Wanted, ...]
    waited: bool = False
    duration_hint: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A place in one or several concurrency limits, held while a task runs.

    Args:
        token: the token that holds it.
        keys: the concurrency limits.
        at: when it was granted, in seconds since the epoch by the store's clock.
    """

    token: str
    keys: tuple[str, ...]
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer to an ask.

    Args:
        wait: seconds until the start, or until the next ask; 0 means start now.
        at: the time after the wait, in seconds since the epoch by the store's clock.
        reserved: whether the start at that time belongs to the token, so that it need not ask again.
        lease: the lease to renew while the task runs and to release afterwards; None without a
            concurrency limit, and while the token waits.
        key: the limit that the token waits for; None if it starts now.
    """

    wait: float
    at: float
    reserved: bool
    lease: Lease | None = None
    key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a store knows of a limit.

    Args:
        key: the limit and its key value.
        running: leases that are held.
        backlog: seconds until the next start that is not promised yet; 0 if one may start at once.
        waiting: the number of tokens that wait, estimated from the schedule.
        mean_duration: the mean duration of recent runs in seconds; None if no run has ended yet.
    """

    key: str
    running: int
    backlog: float
    waiting: int
    mean_duration: float | None


class LimitStore(ABC):
    """Decides about starts for every process that uses the same store."""

    @abstractmethod
    async def open(self) -> None:
        """Create what the store needs; opening twice is not an error.

        Raises:
            BackendUnavailableError: the store cannot be reached.
            ConfigurationError: it lacks a right.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close it; the connections belong to the result backend, which closes them."""

    @abstractmethod
    async def ask(self, asks: Sequence[Ask], *, lease_ttl: float = LEASE_TTL) -> list[Verdict]:
        """Decide asks in the given order, in one round trip.

        Args:
            asks: any number, each token once.
            lease_ttl: seconds for which granted leases are held unless they are renewed.

        Returns:
            A verdict for each ask.

        Raises:
            BackendUnavailableError: the store cannot be reached; asking again is safe.
        """

    @abstractmethod
    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE_TTL) -> list[bool]:
        """Extend leases, in one round trip.

        A lease that has ended is taken again, even beyond the limit: its task runs in any case, and must be
        counted.

        Args:
            leases: any number.
            ttl: seconds from now.

        Returns:
            For each lease whether it was still held in all its limits.

        Raises:
            BackendUnavailableError: as for `ask`.
        """

    @abstractmethod
    async def release(self, leases: Sequence[Lease]) -> None:
        """End leases, in one round trip; ending one twice is not an error.

        Raises:
            BackendUnavailableError: as for `ask`; unless released later, they end with their ttl.
        """

    @abstractmethod
    async def peek(self, keys: Sequence[str]) -> list[Usage]:
        """Return the usage of limits, without changing anything.

        Raises:
            BackendUnavailableError: as for `ask`.
        """

    @abstractmethod
    async def find(self, prefix: str = "", *, limit: int = 1000) -> list[Usage]:
        """Return the limits in use whose keys begin with a text, in the order of their keys.

        Args:
            prefix: the beginning of the key.
            limit: how many at most.

        Raises:
            BackendUnavailableError: as for `ask`.
        """
