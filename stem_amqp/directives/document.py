"""A set of directives that is stored as one document, and a history of who did what.

Two documents merge by a union in which the last directive of each identity wins. A merge is commutative,
associative and idempotent, so copies of a document that were changed separately can be merged in any order
and any number of times, and no change is lost (a state-based map of last-writer-wins registers: Shapiro et
al., "A comprehensive study of convergent and commutative replicated data types", INRIA RR-7506, 2011).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from stem_amqp.directives.model import Directive
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ConfigurationError, DecodeError

VERSION = 1
ENTRIES = 10_000
"""The most directives of a document."""
BYTES = 4 * 1024 * 1024
"""The largest size of a document with its directives, in bytes."""
HISTORY = 500
"""The most entries of the history; the oldest are dropped first."""
ASIDE = 500
"""The most entries that this release cannot read; the oldest are dropped first."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One directive as it was issued, so that every reader can verify it.

    Args:
        body: the bytes of the directive.
        signature: the header that signs them; None if they are not signed.
        directive: what the body says.
    """

    body: bytes
    signature: str | None
    directive: Directive

    @classmethod
    def of(cls, body: bytes, signature: str | None = None) -> Entry:
        """Read an entry.

        Raises:
            DecodeError: the body is no directive of this version.
        """
        return cls(body, signature, Directive.decode(body))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[bytes, str]:
        return self.body, self.signature or ""

    @property
    def order(self) -> tuple[float, str, bytes, str]:
        """The order of entries of one identity: the last one holds."""
        return (*self.directive.order, *self._key)

    @property
    def size(self) -> int:
        """About how many bytes it takes in a document."""
        return len(self.body) + len(self.signature or "") + 32

    def fields(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        fields = {"body": self.body.decode()}
        return fields if self.signature is None else fields | {"publish": self.signature}


_Identity = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Document:
    """Directives, the last one of each identity; and the history.

    Args:
        entries: the directives by their identity.
        history: the last commands, the oldest first; also those that change nothing that lasts.
        aside: entries that this release cannot read, or whose signature this process cannot verify, as
            JSON texts; they are kept for others.
        extra: fields of later releases.
    """

    entries: Mapping[_Identity, Entry] = field(default_factory=dict)
    history: tuple[Entry, ...] = ()
    aside: frozenset[bytes] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def directives(self) -> tuple[Directive, ...]:
        """The directives, in the order in which they were issued."""
        found = (entry.directive for entry in self.entries.values())
        return tuple(sorted(found, key=lambda one: one.order))

    def merge(self, other: Document) -> Document:
        """Return the union of two documents; of each identity the last directive.

        Args:
            other: the other document.
        """
        entries = dict(self.entries)
        for identity, entry in other.entries.items():
            own = entries.get(identity)
            if own is None or own.order < entry.order:
                entries[identity] = entry
        return Document(
            entries=entries,
            history=_last({*self.history, *other.history}),
            aside=frozenset(sorted(self.aside | other.aside)[-ASIDE:]),
            extra=_merged(self.extra, other.extra),
        )

    def pruned(self, now: float) -> Document:
        """Return the document without what has expired.

        Args:
            now: seconds since the epoch.
        """

        def kept(entry: Entry) -> bool:
            until = entry.directive.kept_until
            return until is None or until > now

        if all(map(kept, self.entries.values())):
            return self
        return replace(
            self, entries={key: entry for key, entry in self.entries.items() if kept(entry)}
        )

    def moment(self, directive: Directive, now: float) -> float:
        """Return the time for a new directive: now, but later than the one that it replaces.

        So an operator whose clock is behind can still replace the directive of another one.

        Args:
            directive: the new directive, without a time.
            now: seconds since the epoch.
        """
        own = self.entries.get(directive.identity)
        return now if own is None else max(now, round(own.directive.at + 0.001, 3))

    def add(self, entry: Entry, now: float) -> Document:
        """Return the document with one more directive, also in the history.

        Args:
            entry: the directive.
            now: seconds since the epoch.

        Raises:
            ConfigurationError: the document is full.
        """
        identity = entry.directive.identity
        added = Document(entries={identity: entry}, history=(entry,))
        before = self.pruned(now)
        result = before.merge(added)
        replaced = before.entries.get(identity)
        # one that replaces another one without being larger is always stored, and so is a withdrawal
        if not entry.directive.withdrawn and (replaced is None or entry.size > replaced.size):
            _refuse_full(result, len(before.entries), now)
        return result

    def record(self, entry: Entry) -> Document:
        """Return the document with one more entry in the history, for a command that does not last.

        Args:
            entry: the command.
        """
        return self.merge(Document(history=(entry,)))

    def encode(self) -> bytes:
        """Write the document."""
        ordered = sorted(self.entries.values(), key=lambda entry: entry.order)
        return orjson.dumps(
            {
                **self.extra,
                "v": VERSION,
                "entries": [entry.fields() for entry in ordered]
                + [orjson.Fragment(text) for text in sorted(self.aside)],
                "history": [entry.fields() for entry in self.history],
            }
        )

    @classmethod
    def decode(cls, body: bytes, accepts: Callable[[Entry], bool] = lambda _: True) -> Document:
        """Read a document; entries that this process cannot read or verify are kept aside.

        Entries are verified before they are compared: a forged one must not replace a valid one.

        Args:
            body: the bytes.
            accepts: returns whether an entry's signature is valid, or not needed.

        Raises:
            DecodeError: it is no such document, is far larger than one can be, or is of a later version.
        """
        if len(body) > 4 * BYTES:
            raise DecodeError(f"the document of directives has {len(body)} bytes", b"")
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise DecodeError(f"the document of directives is not JSON: {error}", b"") from error
        if not isinstance(data, dict) or data.get("v") != VERSION:
            raise DecodeError(
                "it is no document of directives of a version that is known here", b""
            )
        aside: set[bytes] = set()
        entries: dict[_Identity, Entry] = {}
        for fields in _list(data, "entries"):
            entry = _entry(fields)
            if entry is None or not accepts(entry):
                aside.add(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))
                continue
            own = entries.get(entry.directive.identity)
            if own is None or own.order < entry.order:
                entries[entry.directive.identity] = entry
        history = {entry for fields in _list(data, "history") if (entry := _entry(fields))}
        history = {entry for entry in history if accepts(entry)}
        extra = {key: data[key] for key in data.keys() - {"v", "entries", "history"}}
        return cls(
            entries=entries,
            history=_last(history),
            aside=frozenset(sorted(aside)[-ASIDE:]),
            extra=extra,
        )


def _refuse_full(document: Document, before: int, now: float) -> None:
    number = len(document.entries)
    size = sum(entry.size for entry in document.entries.values())
    if number <= ENTRIES and size <= BYTES:
        return
    first = min(
        (entry.directive.expires for entry in document.entries.values() if entry.directive.expires),
        default=None,
    )
    next_one = (
        "none of them expires"
        if first is None
        else f"the first one expires in {format_seconds(round(max(0.0, first - now)))}"
    )
    raise ConfigurationError(
        f"no further directive can be stored: there are {before} ({size} bytes with it), and {ENTRIES}"
        f" ({BYTES} bytes) are the maximum; {next_one}\n"
        "  Withdraw directives that are no longer needed, or revoke many tasks with one directive, by"
        " their task name, queue or metadata, instead of one by one"
    )


def _entry(fields: Any) -> Entry | None:
    if not isinstance(fields, dict):
        return None
    body, signature = fields.get("body"), fields.get("publish")
    if not isinstance(body, str) or not (signature is None or isinstance(signature, str)):
        return None
    if not fields.keys() <= {"body", "publish"}:
        return None
    try:
        return Entry.of(body.encode(), signature)
    except (DecodeError, UnicodeEncodeError):
        return None


def _last(history: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(history, key=lambda entry: entry.order)[-HISTORY:])


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    found = data.get(name)
    return found if isinstance(found, list) else []


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    if one == other:
        return one

    def key(value: Any) -> bytes:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

    return {
        name: max((side[name] for side in (one, other) if name in side), key=key)
        for name in sorted({*one, *other})
    }
