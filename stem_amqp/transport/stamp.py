"""Sign publications; the signed part of a publication or delivery."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from stem_amqp.signing.publish import PUBLISH, Publish
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.transport.publication import Headers, Publication


def stamped(
    seal: Seal,
    publication: Publication,
    queue: str,
    *,
    domain: Domain,
    at: float,
    nonce: str | None = None,
) -> Publication:
    """Return a publication with a new signature, which replaces an existing one.

    Args:
        seal: the keys; without keys that sign publishes, the result has no signature.
        publication: the publication.
        queue: its logical queue.
        domain: the kind of the publish.
        at: seconds since the epoch.
        nonce: None generates a new one.
    """
    header = seal.stamp(signed_part(publication, queue), domain=domain, at=at, nonce=nonce)
    carried = {name: value for name, value in publication.headers.items() if name != PUBLISH}
    return replace(publication, headers=carried | header)


class SignedMessage(Protocol):
    """A message on its way: a publication, a delivery or a worker's job."""

    @property
    def body(self) -> bytes:
        """The body."""
        ...

    @property
    def headers(self) -> Headers:
        """The headers."""
        ...

    @property
    def type(self) -> str | None:
        """AMQP ``type``."""
        ...

    @property
    def correlation_id(self) -> str | None:
        """AMQP ``correlation_id``."""
        ...

    @property
    def reply_to(self) -> str | None:
        """AMQP ``reply_to``."""
        ...


def signed_part(message: SignedMessage, queue: str) -> Publish:
    """Return the parts of a message that the signature of its publish covers.

    Args:
        message: the message.
        queue: its logical queue.
    """
    return Publish(
        queue=queue,
        body=message.body,
        type=message.type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        headers=message.headers,
    )
