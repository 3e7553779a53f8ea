"""The publish signature of a replayed dead letter: the process that replays it signs the publish."""

from __future__ import annotations

from dataclasses import replace

from stem_amqp.errors import ConfigurationError, DecodeError
from stem_amqp.messages.message import decode
from stem_amqp.signing.publish import MARK, PUBLISH, derived_nonce, nonce_of
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication
from stem_amqp.transport.stamp import stamped


def sign_replay(
    seal: Seal | None, delivery: Delivery, publication: Publication, queue: str, *, now: float
) -> Publication:
    """Return the publication of a replay with its own publish signature.

    Its nonce is derived from that of the letter: a letter that is replayed twice, because its
    acknowledgement was lost or it was copied, runs once.

    Args:
        seal: the keys; None without keys.
        delivery: the dead letter.
        publication: its replay.
        queue: the logical queue to publish to.
        now: seconds since the epoch.

    Raises:
        ConfigurationError: it must be signed, and this process has no key.
    """
    before = delivery.headers.get(PUBLISH)
    if seal is None:
        if before is None:
            return publication
        raise ConfigurationError(
            "each publish of this task is signed, and this process has no key to sign the replay"
            " (STEM_KEYS_FILE)"
        )
    if before is None and not _marked(seal, delivery):
        return publication
    report = seal.inspect(delivery.body, delivery.headers)
    if report.signature is not None and not report.trusted:
        # The body's signature is not valid, so the worker must reject the message
        headers = {name: value for name, value in publication.headers.items() if name != PUBLISH}
        return replace(publication, headers=headers)
    nonce = nonce_of(before)
    return stamped(
        seal,
        publication,
        queue,
        domain=Domain.PUBLISH,
        at=now,
        nonce=derived_nonce(nonce) if nonce else None,
    )


def _marked(seal: Seal, delivery: Delivery) -> bool:
    try:
        message = decode(seal.inspect(delivery.body, delivery.headers).body)
    except DecodeError:
        return False
    return message.extra.get(MARK) is True
