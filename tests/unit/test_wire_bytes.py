"""The bytes of replies, commands and a child's frames, which processes of two releases exchange."""

import pytest

from stem_amqp.errors import DecodeError
from stem_amqp.messages.commands import Report, Revoke
from stem_amqp.messages.commands import decode as command_of
from stem_amqp.outcome import (
    Dead,
    Failure,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.results.model import Progress, ProgressUpdate, Transition
from stem_amqp.results.rpc.wire import PROGRESS, TRANSITION, decode, encode
from stem_amqp.states import Reason, TaskState
from stem_amqp.worker.isolation.wire import frame, outcome_fields, outcome_of, read

FAILURE = Failure(error="ValueError: no", traceback="Traceback …")
OUTCOMES = [
    (
        Succeeded(result=b"\xff\xfe[1]?", duration=0.25),
        '{"kind":"succeeded","result":"//5bMV0/","duration":0.25}',
    ),
    (
        Retried(failure=FAILURE, delay=2.5, native=True),
        '{"kind":"retried","delay":2.5,"native":true,"error":"ValueError: no","traceback":"Traceback …"}',
    ),
    (Snoozed(delay=60.0, reason="later"), '{"kind":"snoozed","delay":60.0,"reason":"later"}'),
    (Postponed(delay=1.5), '{"kind":"postponed","delay":1.5}'),
    (
        Dead(reason=Reason.RETRIES_EXHAUSTED, failure=Failure(error="e")),
        '{"kind":"dead","reason":"retries-exhausted","expected":false,"error":"e","traceback":""}',
    ),
    (
        Dead(reason=Reason.REJECTED, failure=Failure(error="e"), expected=True),
        '{"kind":"dead","reason":"rejected","expected":true,"error":"e","traceback":""}',
    ),
    (Revoked(reason="an operator"), '{"kind":"revoked","reason":"an operator"}'),
    (Returned(), '{"kind":"returned"}'),
]
COMMANDS = [
    (Report(), b'{"command":"report"}'),
    (
        Revoke(task_id="t1", reason="why", terminate=True),
        b'{"command":"revoke","id":"t1","reason":"why","terminate":true}',
    ),
]
REPLIES = [
    (
        TRANSITION,
        Transition(
            task_id="t1",
            task="orders.sync",
            queue="orders",
            state=TaskState.SUCCEEDED,
            attempt=1,
            at=100.5,
            worker="w",
            result=b"[1, 2]",
            meta={"a": 1},
        ),
        (
            b'{"v":1,"id":"t1","task":"orders.sync","queue":"orders","state":"succeeded","attempt":1,'
            b'"replay":0,"at":100.5,"ttl":86400.0,"worker":"w","meta":{"a":1},"result_size":6,'
            b'"result":[1, 2]}'
        ),
    ),
    (
        PROGRESS,
        ProgressUpdate(
            task_id="t1",
            progress=Progress(fraction=0.5, message="half", data={"n": 1}, at=7.0),
            ttl=60.0,
        ),
        b'{"v":1,"id":"t1","ttl":60.0,"fraction":0.5,"message":"half","data":{"n":1},"at":7.0}',
    ),
]


@pytest.mark.parametrize(("outcome", "text"), OUTCOMES, ids=lambda one: type(one).__name__)
def test_an_outcome_of_a_child_has_these_bytes(outcome, text):
    """Each kind is a JSON object with its kind first; results are base64, failures are flat."""
    content = frame(outcome_fields(outcome))[4:]
    assert content == text.encode()
    assert outcome_of(read(content)) == outcome
    assert outcome_of({**read(content), "of a later release": 1}) == outcome


def test_an_outcome_that_a_child_cannot_have_is_refused():
    """Only the worker itself has information about earlier deliveries."""
    with pytest.raises(ValueError, match="Repeated"):
        outcome_fields(Repeated())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "repeated"},
        {"kind": ["dead"]},
        {"kind": "postponed"},
        {"kind": "postponed", "delay": "soon"},
        {"kind": "dead", "reason": "of a later release", "error": "e", "traceback": ""},
        {"kind": "dead", "reason": "rejected", "traceback": ""},
        {"kind": "succeeded", "result": 7, "duration": 1.0},
    ],
    ids=str,
)
def test_what_is_no_outcome_is_refused(fields):
    """The output of a broken child is refused."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        outcome_of(fields)


@pytest.mark.parametrize(("command", "body"), COMMANDS, ids=lambda one: type(one).__name__)
def test_a_command_has_these_bytes(command, body):
    """Workers of earlier releases read them."""
    assert command.encode() == body
    assert command_of(body) == command


@pytest.mark.parametrize(
    ("body", "command"),
    [
        (b'{"command":"revoke","id":"t"}', Revoke(task_id="t", reason="revoked")),
        (b'{"command":"revoke","id":"t","reason":null}', Revoke(task_id="t", reason="revoked")),
        (b'{"command":"revoke","id":"t","reason":7}', Revoke(task_id="t", reason="7")),
        (
            b'{"command":"revoke","id":"t","terminate":1}',
            Revoke(task_id="t", reason="revoked"),
        ),
        (b'{"command":"report","later":[1]}', Report()),
    ],
)
def test_commands_that_lack_a_field_or_have_more_are_read(body, command):
    """Only a true ``terminate`` cancels a run."""
    assert command_of(body) == command


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "malformed"),
        (b"7", "malformed"),
        (b"{}", "malformed"),
        (b'{"command":"pause"}', "unknown command 'pause'"),
        (b'{"command":"revoke","id":""}', "task id of 1 to"),
        (b'{"command":"revoke","id":7}', "task id of 1 to"),
        (b"[" * 3000, "malformed"),
    ],
)
def test_an_error_says_what_is_wrong_with_a_command(body, says):
    """Every worker that gets the command logs the error."""
    with pytest.raises(DecodeError, match=says):
        command_of(body)


@pytest.mark.parametrize(("kind", "change", "body"), REPLIES, ids=["transition", "progress"])
def test_a_reply_has_these_bytes(kind, change, body):
    """The result's own bytes are at the end."""
    assert encode(change) == body
    assert decode(kind, body) == change
