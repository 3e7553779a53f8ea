"""Commands to workers: their content, number and signatures."""

import logging
import time
import tracemalloc
from types import SimpleNamespace

import orjson
import pytest

from stem_amqp.errors import ConfigurationError, DecodeError
from stem_amqp.messages.commands import COMMAND_BYTES, REASON_BYTES, Revoke, decode, signed_part
from stem_amqp.settings import Signatures
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import HmacKey, Use
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain
from stem_amqp.worker.gates.revocations import Revocations
from stem_amqp.worker.report.quota import Quota
from stem_amqp.worker.steering import listener as control_listener
from stem_amqp.worker.steering.listener import COMMANDS, LINES, WINDOW, ControlListener


class Now:
    """A clock whose time the test sets."""

    now = 1000.0

    def time(self):
        """Return the time that the test has set."""
        return self.now


def listener(seal=None, clock=None):
    """Return a listener that records the commands that it gets."""
    told = []
    handlers = {Revoke: lambda command, _: told.append(command)}
    return ControlListener(handlers, seal=seal, clock=clock or Now()), told


def delivery(body, headers=None, task_id="t1"):
    """Return a delivery of the control exchange."""
    return SimpleNamespace(body=body, headers=headers or {}, correlation_id=task_id, reply_to=None)


def test_a_command_is_read_as_it_was_written():
    """Only a reason that is too long is cut."""
    command = Revoke(task_id="t1", reason="é" * 1000, terminate=True)
    read = decode(command.encode())
    assert (read.task_id, read.terminate) == ("t1", True)
    assert len(read.reason.encode()) <= REASON_BYTES


@pytest.mark.parametrize("task_id", ["", "x" * 256, "é" * 200, 7, None, ["a"]])
def test_an_id_that_is_none_is_neither_written_nor_read(task_id):
    """Every worker would keep the id."""
    with pytest.raises(ConfigurationError, match="is not a valid task id"):
        Revoke(task_id=task_id, reason="").encode()
    with pytest.raises(DecodeError):
        decode(orjson.dumps({"command": "revoke", "id": task_id}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b"{}",
        b'{"command":"revoke"}',
        b'{"command":["x"]}',
        b'{"command":"revoke","id":["a","b"]}',
        b" " * (COMMAND_BYTES + 1),
    ],
    ids=lambda body: repr(body)[:30],
)
def test_what_is_no_command_is_ignored(body, caplog):
    """The listener raises for none of them."""
    listen, told = listener()
    listen(delivery(body))
    assert told == []
    assert "is ignored" in caplog.text


def test_large_commands_cost_a_worker_next_to_nothing(caplog):
    """25 commands of 8 MB, with one id or many, are neither kept nor logged."""
    one = orjson.dumps({"command": "revoke", "id": "x" * 8_000_000})
    many = orjson.dumps({"command": "revoke", "id": ["x" * 30] * 240_000})
    listen, told = listener()
    tracemalloc.start()
    try:
        begun = time.process_time()
        for number in range(25):
            listen(delivery(many if number % 2 else one))
        took = time.process_time() - begun
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told == []
    assert peak < 1_000_000
    assert kept < 500_000
    assert took < 5
    assert len(caplog.text) < 10_000


def test_many_commands_write_few_lines(caplog, monkeypatch):
    """All commands are processed; one line counts those without a line of their own."""
    caplog.set_level(logging.INFO)
    listen, told = listener()
    for number in range(1000):
        listen(delivery(Revoke(task_id=str(number), reason="r").encode()))
    assert len(told) == 1000
    assert len(caplog.records) == LINES
    monkeypatch.setattr(listen._lines, "_clock", lambda: time.monotonic() + 60)
    listen(delivery(Revoke(task_id="last", reason="r\nforged").encode()))
    assert caplog.records[-1].getMessage() == (
        "task 'last' is revoked: 'r\\nforged' (980 more were not logged)"
    )


def test_commands_beyond_the_quota_are_ignored(monkeypatch, caplog):
    """A flood of commands does not block the event loop for tasks."""
    monkeypatch.setattr(control_listener, "COMMANDS", 5)
    listen, told = listener()
    for number in range(8):
        listen(delivery(Revoke(task_id=str(number), reason="r").encode()))
    assert len(told) == 5
    assert "more than 5 commands" in caplog.text
    assert COMMANDS >= 1000


def test_a_quota_starts_again():
    """Each period has a quota of its own."""
    now = [0.0]
    quota = Quota(2, 10, clock=lambda: now[0])
    assert [quota.take() for _ in range(4)] == [True, True, False, False]
    assert (quota.skipped(), quota.skipped()) == (2, 0)
    now[0] = 10.0
    assert quota.take()


def test_revocations_are_bounded_by_number_and_size():
    """The oldest are forgotten first, and a repeated id counts once."""
    few = Revocations(capacity=3)
    for name in ("a", "b", "c", "a", "d"):
        few.add(name, "r")
    assert [few.reason(name) for name in "abcd"] == ["r", None, "r", "r"]
    small = Revocations(most=4 * 300)
    for number in range(100):
        small.add(f"{number:090d}", "reason-123")
    assert len(small) == 3
    assert small.reason(f"{99:090d}") == "reason-123"


def seal(*, signatures=None, use=Use.ALL):
    """Return a signature by a key."""
    ring = KeyRing.of(HmacKey("k1", b"s" * 32, active=True, use=use))
    return Seal(ring=ring, namespace="stem", required=True, signatures=signatures)


def signed(by, at=1000.0, task_id="t1", **stamp):
    """Return a signed command."""
    body = Revoke(task_id=task_id, reason="r").encode()
    given = {"domain": Domain.COMMAND, "at": at} | stamp
    return delivery(body, by.stamp(signed_part(body, task_id, {}), **given), task_id)


def test_a_signed_command_runs_once():
    """A copy of it is ignored."""
    listen, told = listener(seal())
    command = signed(seal())
    listen(command)
    listen(command)
    assert [one.task_id for one in told] == ["t1"]


@pytest.mark.parametrize(
    "command",
    [
        delivery(Revoke(task_id="t1", reason="r").encode()),
        delivery(signed(seal()).body, signed(seal(), task_id="t2").headers),
        signed(seal(), domain=Domain.PUBLISH),
        signed(seal(), at=1000.0 - WINDOW - 1),
        signed(Seal(ring=seal().ring, namespace="staging", required=True)),
        delivery(signed(seal()).body, {"stem-publish": "x"}),
    ],
    ids=["unsigned", "another's", "no command", "old", "staging", "junk"],
)
def test_a_command_that_is_not_signed_so_is_ignored(command, caplog):
    """Permission to publish is not enough to revoke a task; a key is needed."""
    listen, told = listener(seal())
    listen(command)
    assert told == []
    assert "is ignored" in caplog.text


def test_a_workers_key_gives_no_commands():
    """A key for publishes is accepted for publishes only."""
    listen, told = listener(seal(use=Use.PUBLISHES))
    publishes = seal(use=Use.PUBLISHES)
    body = Revoke(task_id="t1", reason="r").encode()
    assert publishes.stamp(signed_part(body, "t1", {}), domain=Domain.COMMAND, at=1000.0) == {}
    listen(signed(seal()))
    assert told == []


def test_in_the_transition_unsigned_commands_count():
    """An older release still sends them; a wrong signature is refused."""
    listen, told = listener(seal(signatures=Signatures.TRANSITION))
    listen(delivery(Revoke(task_id="t1", reason="r").encode()))
    listen(delivery(Revoke(task_id="t2", reason="r").encode(), {"stem-publish": "x"}))
    assert [one.task_id for one in told] == ["t1"]
