"""The key ring: when it is read again, and when it is unchanged."""

import copy
import os
import pickle  # the only import of pickle: it shows that keys cannot be pickled

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.signing.keyring import KeyRing, KeySet
from stem_amqp.signing.keys import HmacKey


class Source:
    """A source whose keys change, with a clock; it counts its reads."""

    def __init__(self):
        self.ids, self.stamp, self.now, self.looks = ["k1"], 1, 100.0, 0

    def read(self):
        if not self.ids:
            raise ConfigurationError("no keys")
        return KeySet(HmacKey(key_id, os.urandom(32)) for key_id in self.ids)

    def source_stamp(self):
        self.looks += 1
        return self.stamp

    def ring(self):
        ring = KeyRing(self.read, stamp=self.source_stamp, clock=lambda: self.now)
        self.looks = 0
        return ring


def test_a_known_key_costs_no_look():
    """The common case is a dictionary lookup."""
    source = Source()
    assert source.ring().find("k1").id == "k1"
    assert source.looks == 0


def test_an_unknown_key_is_looked_for_once_a_second():
    """A sender of unknown ids does not make the worker read files continuously."""
    source = Source()
    ring = source.ring()
    for _ in range(5):
        assert ring.find("k2") is None
    assert source.looks == 1
    source.now += 1
    source.ids, source.stamp = ["k1", "k2"], 2
    assert ring.find("k2").id == "k2"


def test_a_key_that_comes_right_after_the_start_is_found():
    """The first read does not wait."""
    source = Source()
    ring = source.ring()
    source.ids, source.stamp = ["k2"], 2
    assert ring.find("k2").id == "k2"
    assert ring.find("k1") is None


def test_a_file_that_cannot_be_read_changes_nothing(caplog):
    """This holds for a periodic and a requested read; the next read may succeed."""
    source = Source()
    ring = source.ring()
    source.ids, source.stamp = [], 2
    assert ring.find("k2") is None
    assert "the old keys stay in use: no keys" in caplog.text
    with pytest.raises(ConfigurationError):
        ring.reload()
    assert ring.find("k1").id == "k1"
    source.ids, source.now = ["k2"], source.now + 1
    assert ring.find("k2").id == "k2"


def test_a_key_is_never_serialized():
    """This prevents copies by accident and to other processes."""
    key = HmacKey("k1", os.urandom(32))
    with pytest.raises(TypeError, match="must not be copied"):
        pickle.dumps(key)
    with pytest.raises(TypeError, match="must not be copied"):
        copy.copy(key)
