"""The key ring: when it is read again, and when it stays as it is."""

import copy
import os
import pickle  # the only one here: to show that keys do not go through it

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.signing.keyring import KeyRing, KeySet
from stem_amqp.signing.keys import HmacKey


class Source:
    """Keys that change, with a clock; counts the looks."""

    def __init__(self):
        self.ids, self.stamp, self.now, self.looks = ["k1"], 1, 100.0, 0

    def read(self):
        if not self.ids:
            raise ConfigurationError("no keys")
        return KeySet(HmacKey(key_id, os.urandom(32)) for key_id in self.ids)

    def look(self):
        self.looks += 1
        return self.stamp

    def ring(self):
        ring = KeyRing(self.read, stamp=self.look, clock=lambda: self.now)
        self.looks = 0
        return ring


def test_a_known_key_costs_no_look():
    """The common case reads a dictionary."""
    source = Source()
    assert source.ring().find("k1").id == "k1"
    assert source.looks == 0


def test_an_unknown_key_is_looked_for_once_a_second():
    """Who sends unknown ids does not make the worker read files."""
    source = Source()
    ring = source.ring()
    for _ in range(5):
        assert ring.find("k2") is None
    assert source.looks == 1
    source.now += 1
    source.ids, source.stamp = ["k1", "k2"], 2
    assert ring.find("k2").id == "k2"


def test_a_key_that_comes_right_after_the_start_is_found():
    """The first look waits for nothing."""
    source = Source()
    ring = source.ring()
    source.ids, source.stamp = ["k2"], 2
    assert ring.find("k2").id == "k2"
    assert ring.find("k1") is None


def test_a_file_that_cannot_be_read_changes_nothing(caplog):
    """Neither by itself nor when it is asked for; the next look may find it whole."""
    source = Source()
    ring = source.ring()
    source.ids, source.stamp = [], 2
    assert ring.find("k2") is None
    assert "the old ones stay: no keys" in caplog.text
    with pytest.raises(ConfigurationError):
        ring.reload()
    assert ring.find("k1").id == "k1"
    source.ids, source.now = ["k2"], source.now + 1
    assert ring.find("k2").id == "k2"


def test_a_key_is_never_serialized():
    """Neither by accident nor to send it to another process."""
    key = HmacKey("k1", os.urandom(32))
    with pytest.raises(TypeError, match="not to be copied"):
        pickle.dumps(key)
    with pytest.raises(TypeError, match="not to be copied"):
        copy.copy(key)
