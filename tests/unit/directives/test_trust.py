"""Signatures of directives: each one is verified, wherever it comes from."""

import pytest

from stem_amqp.directives.document import Document, Entry
from stem_amqp.directives.model import Directive, Kind, Target
from stem_amqp.directives.trust import Trust
from stem_amqp.errors import SignatureError
from stem_amqp.settings import Signatures
from stem_amqp.signing.keyring import KeyRing, KeySet
from stem_amqp.signing.keys import HmacKey, Use
from stem_amqp.signing.seal import Seal


def seal(*, key_id="k1", signatures=None, use=Use.ALL, namespace="stem", active=True):
    """Return a seal with one key."""
    ring = KeyRing.of(HmacKey(key_id, key_id.encode() * 16, active=active, use=use))
    return Seal(ring=ring, namespace=namespace, required=True, signatures=signatures)


PAUSE = Directive(kind=Kind.PAUSE, target=Target(queue="q"), at=1.0, nonce="n1", by="ann")


def test_without_keys_everything_is_accepted_unsigned():
    """Signing is optional."""
    trust = Trust(None)
    entry = trust.sign(PAUSE, 1.0)
    assert entry.signature is None
    assert trust.accepts(entry)


def test_a_signed_directive_is_accepted_at_any_later_time():
    """It is stored for as long as it holds, unlike a command."""
    trust = Trust(seal())
    assert trust.accepts(trust.sign(PAUSE, 1.0))
    assert trust.refused == 0


@pytest.mark.parametrize(
    "forged",
    [
        Entry(PAUSE.encode(), None, PAUSE),
        Entry(PAUSE.encode(), "x", PAUSE),
        Entry(
            PAUSE.encode().replace(b'"q"', b'"p"'), Trust(seal()).sign(PAUSE, 1.0).signature, PAUSE
        ),
        Trust(seal(key_id="k2")).sign(PAUSE, 1.0),
        Trust(seal(namespace="staging")).sign(PAUSE, 1.0),
    ],
    ids=["unsigned", "junk", "changed", "another key", "another namespace"],
)
def test_a_forged_directive_is_ignored_and_counted_once(forged):
    """It stays in the document, for a process that may know its key."""
    trust = Trust(seal())
    body = Document(entries={PAUSE.identity: forged}).encode()
    for _ in range(2):
        read = Document.decode(body, trust.accepts)
        assert read.directives == ()
        assert read.encode() == body
    assert trust.refused == 1
    assert [one.nonce for one in trust.take_refused()] == [PAUSE.nonce]
    assert trust.take_refused() == []


def test_keys_that_change_are_used_for_what_is_stored():
    """The result of an earlier verification is forgotten with the keys."""
    keys = [HmacKey("k1", b"1" * 32, active=True)]
    ring = KeyRing(lambda: KeySet(keys))
    trust = Trust(Seal(ring=ring, namespace="stem", required=True))
    entry = trust.sign(PAUSE, 1.0)
    assert trust.accepts(entry)
    keys[:] = [HmacKey("k2", b"2" * 32, active=True)]
    ring.reload()
    assert not trust.accepts(entry)


def test_in_the_transition_an_unsigned_directive_counts():
    """A wrong signature is refused."""
    trust = Trust(seal(signatures=Signatures.TRANSITION))
    assert trust.accepts(Entry(PAUSE.encode(), None, PAUSE))
    assert not trust.accepts(Entry(PAUSE.encode(), "x", PAUSE))


def test_a_process_without_a_key_for_commands_says_so():
    """Workers would ignore its directive."""
    with pytest.raises(SignatureError, match=r"no key that signs commands\n.*use: all"):
        Trust(seal(use=Use.PUBLISHES, signatures=Signatures.REQUIRED)).sign(PAUSE, 1.0)
