"""Issue directives: sign, store, and send to the workers that run."""

from __future__ import annotations

import asyncio
import getpass
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stem_amqp.clock import Clock
from stem_amqp.directives.document import Document, Entry
from stem_amqp.directives.in_backend import BackendStore
from stem_amqp.directives.in_broker import BrokerStore
from stem_amqp.directives.model import Directive, Kind, Target, new_nonce
from stem_amqp.directives.store import Store
from stem_amqp.directives.trust import Trust
from stem_amqp.errors import ConfigurationError, UnroutableError
from stem_amqp.messages.commands import Directed, Revoke, signed_part
from stem_amqp.results.base import ResultBackend
from stem_amqp.settings import Settings
from stem_amqp.signing.publish import PUBLISH
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.topology.names import COMMAND_KEY, Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.directives")

_SHOWN = 8
"""The most directives that an error names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """What became of a directive.

    Args:
        directive: the directive as it is stored, with its time, its nonce and its issuer.
        heard: whether a worker runs that was told at once; all others read it when they start.
        store: where it is stored.
    """

    directive: Directive
    heard: bool
    store: str


class Desk:
    """Stores the directives of a namespace, and tells the workers that run of each change.

    Args:
        settings: the application's settings.
        transport: the broker.
        names: the names on it.
        backend: the result backend.
        seal: signs and verifies; None without keys.
        turn: is held during a change. Of many changes that one process makes at once, each would outdate
            the others, and nearly all attempts would fail. None: changes of this desk wait for each other.

    Attributes:
        store: where directives are stored: the result backend if it keeps keys, else RabbitMQ.
        stores: all stores that are read: a process without that backend may have stored in RabbitMQ.
        trust: verifies directives.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        names: Names,
        backend: ResultBackend,
        seal: Seal | None,
        *,
        turn: asyncio.Lock | None = None,
    ) -> None:
        self.trust = Trust(seal)
        self.stores = _stores(settings, transport, names, backend, self.trust)
        self.store = self.stores[0]
        self._turn = turn or asyncio.Lock()
        self._transport = transport
        self._names = names
        self._seal = seal
        self._issuer = settings.issuer or issuer()

    @property
    def _clock(self) -> Clock:
        return self._transport.clock

    async def read(self) -> Document:
        """Return what is stored.

        Raises:
            BrokerError: the broker does not answer, or refuses.
            BackendError: the result backend does not answer.
            DecodeError: what is stored is no document that this release can read.
        """
        document = Document()
        for store in self.stores:
            document = document.merge(await store.read())
        return document.pruned(self._clock.time())

    async def issue(
        self, directive: Directive, *, revise: Callable[[Document], Directive] | None = None
    ) -> Issued:
        """Sign, store and send a directive; its time, nonce, issuer and store are set here.

        Args:
            directive: the directive.
            revise: returns what is stored instead, from the document as it is then; it may be called more
                than once. None: the directive itself is stored.

        Raises:
            ConfigurationError: it is too large, or too many directives are stored.
            SignatureError: workers need a signature, and this process has no key for commands.
            BrokerError: the broker does not answer, or refuses.
            BackendError: the result backend does not answer.
        """
        entries: list[Entry] = []
        nonce = new_nonce()

        def change(document: Document) -> Document:
            now = self._clock.time()
            named = replace(
                directive if revise is None else revise(document),
                nonce=nonce,
                by=directive.by or self._issuer,
                store=self.store.name,
            )
            complete = replace(named, at=document.moment(named, now))
            entries.append(self.trust.sign(complete, now))
            return document.add(entries[-1], now)

        async with self._turn:
            await self.store.change(change)
        heard = await self.send(entries[-1])
        issued = entries[-1].directive
        if issued.before is not None:
            # What is enqueued after this call has a later time, also within the same millisecond
            await asyncio.sleep(min(max(0.0, issued.before - self._clock.time()), 0.001))
        return Issued(directive=issued, heard=heard, store=self.store.name)

    async def issue_many(self, directives: Sequence[Directive]) -> None:
        """Sign, store and send several directives, in one change of what is stored.

        Args:
            directives: their times, nonces, issuers and stores are set here.

        Raises:
            StemError: as for `issue`.
        """
        entries: list[Entry] = []

        def change(document: Document) -> Document:
            entries.clear()
            now = self._clock.time()
            for one in directives:
                named = replace(
                    one, nonce=new_nonce(), by=one.by or self._issuer, store=self.store.name
                )
                signed = self.trust.sign(replace(named, at=document.moment(named, now)), now)
                document = document.add(signed, now)
                entries.append(signed)
            return document

        if not directives:
            return
        async with self._turn:
            await self.store.change(change)
        for entry in entries:
            await self.send(entry)

    async def record(self, directive: Directive) -> None:
        """Store a command that does not last in the history.

        Args:
            directive: the command; its time is set here.

        Raises:
            StemError: as for `issue`.
        """

        def change(document: Document) -> Document:
            now = self._clock.time()
            entry = self.trust.sign(replace(directive, at=now, store=self.store.name), now)
            return document.record(entry)

        async with self._turn:
            await self.store.change(change)

    async def withdraw(
        self,
        kind: str,
        target: Target,
        *,
        also: Sequence[str] = (),
        workers: Sequence[str] = (),
        by: str = "",
    ) -> Issued:
        """End a directive, such as the pause of a queue.

        Args:
            kind: its kind.
            target: its target.
            also: kinds of which a directive with the same target and workers is ended first, if there is one.
            workers: its globs of workers.
            by: who withdraws it; default: ``user@host``.

        Returns:
            What became of the last withdrawal.

        Raises:
            ConfigurationError: there is no such directive of any of these kinds; the message names those
                that there are.
            SignatureError: as for `issue`, as all other errors.
        """
        ends = [
            Directive(kind=one, target=target, workers=tuple(workers), by=by, withdrawn=True)
            for one in (*also, kind)
        ]
        kinds = {one.kind for one in ends}
        stored = await self.read()
        now = self._clock.time()
        in_force = [one for one in stored.directives if one.kind in kinds and one.holds("", now)]
        identities = {one.identity for one in in_force}
        found = [one for one in ends if one.identity in identities]
        if not found:
            raise ConfigurationError(_nothing_to_withdraw(kind, target, in_force))
        for one in found[:-1]:
            await self.issue(one)
        return await self.issue(found[-1])

    async def send(self, entry: Entry) -> bool:
        """Tell the workers that run of a directive; return whether there is one.

        Args:
            entry: the signed directive.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        headers = {} if entry.signature is None else {PUBLISH: entry.signature}
        heard = await self._publish(entry.body, Directed.TYPE, headers)
        former = _former(entry.directive)
        if former is not None and heard:
            body, task_id = former.encode(), former.task_id
            stamp: dict[str, str] = {}
            if self._seal is not None:
                stamp = self._seal.stamp(
                    signed_part(body, task_id, {}), domain=Domain.COMMAND, at=self._clock.time()
                )
            await self._publish(body, Revoke.TYPE, stamp, task_id)
        return heard

    async def _publish(
        self, body: bytes, kind: str, headers: dict[str, str], task_id: str | None = None
    ) -> bool:
        publication = Publication(
            exchange=self._names.directives,
            routing_key=COMMAND_KEY,
            body=body,
            type=kind,
            correlation_id=task_id,
            app_id=self._names.namespace,
            headers=headers,
        )
        try:
            await self._transport.publish(publication)
        except UnroutableError as error:
            if self._names.directives not in error.missing:
                if error.missing:
                    log.warning("the workers that run learn of it within a minute: %s", error)
                return False
            # the topology of an earlier release has no exchange of operators
            try:
                await self._transport.publish(replace(publication, exchange=self._names.control))
            except UnroutableError:
                return False
        return True


def issuer() -> str:
    """Return who uses this process: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _nothing_to_withdraw(kind: str, target: Target, in_force: Sequence[Directive]) -> str:
    """Return the text of the error that there is no such directive."""
    listed = "; ".join(
        str(one.target) if one.kind == kind else f"{one.kind} of {one.target}"
        for one in in_force[-_SHOWN:]
    )
    there_are = f"those in force: {listed}" if in_force else "none is in force"
    return f"there is no {kind} of {target} to withdraw\n  Of this kind, {there_are}"


def _former(directive: Directive) -> Revoke | None:
    """Return the command of release 0.1.0 that says the same to workers of that release."""
    fields = directive.target.fields()
    if directive.kind != Kind.REVOKE or directive.withdrawn or fields.keys() != {"id"}:
        return None
    return Revoke(
        task_id=fields["id"],
        reason=directive.reason,
        terminate=directive.terminate,
        directive=directive.nonce,
    )


def _stores(
    settings: Settings, transport: Transport, names: Names, backend: ResultBackend, trust: Trust
) -> Sequence[Store]:
    """Return the stores, first the one that is written to."""
    broker = BrokerStore(transport, names, trust.accepts)
    kind = settings.backend_url.get_secret_value().partition(":")[0].partition("+")[0]
    # results in the memory of this process are not those of the others
    if not backend.keeps_keys or (kind == "memory" and not settings.in_memory):
        return (broker,)
    return (BackendStore(backend, kind, names.namespace, trust.accepts), broker)
