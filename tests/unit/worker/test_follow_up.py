"""Tests of what follows a job: the signed publish, the stored state, the released key."""

import pytest
from worker_fakes import (
    NOW,
    QUEUE,
    FakeClock,
    FakeKeys,
    FakeTransport,
    FakeWriter,
    connections,
    read_job,
    seal,
)

from stem_amqp.errors import BackendUnavailableError, SignatureError
from stem_amqp.messages.headers import size_of
from stem_amqp.messages.message import UNIQUE_KEY
from stem_amqp.outcome import Dead, Failure, Repeated, Retried, Returned, Revoked, Succeeded
from stem_amqp.signing.publish import MARK, PUBLISH
from stem_amqp.signing.signer import Domain
from stem_amqp.states import Reason, TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.publication import Publication
from stem_amqp.transport.stamp import signed_part
from stem_amqp.worker.follow_up.persist import Persistence
from stem_amqp.worker.follow_up.publish import FollowUpPublisher
from stem_amqp.worker.follow_up.recorder import Recorder

NAMES = Names("stem")
LIMIT = 8192
"""The largest headers of the transport in these tests."""


async def published(with_seal, exchange=NAMES.delay_exchange(1), **headers):
    """Publish a message that follows a job, and return what the transport got."""
    transport = FakeTransport()
    transport.largest_headers = LIMIT
    publisher = FollowUpPublisher(
        connections(transport, seal=with_seal), NAMES, Persistence(longest_wait=0.001)
    )
    publication = Publication(exchange=exchange, routing_key="k", body=b"{}", headers=headers)
    one = read_job()
    object.__setattr__(one.message, "extra", {MARK: True})
    await publisher.publish(one, publication)
    return transport.published[0]


@pytest.mark.parametrize(
    ("exchange", "domain"),
    [
        (NAMES.delay_exchange(1), Domain.PUBLISH),
        (NAMES.tasks, Domain.PUBLISH),
        (NAMES.dead, Domain.DEAD_LETTER),
    ],
)
async def test_a_signature_is_for_this_queue_and_time_and_for_its_own_kind_of_message(
    exchange, domain
):
    """A dead letter can not be published as a task, nor a task as a dead letter."""
    keys = seal()
    message = await published(keys, exchange)
    stamp = keys.check(signed_part(message, QUEUE), domain=domain, marked=True)
    assert (stamp.at, stamp.queue) == (NOW, QUEUE)
    for queue, other in ((QUEUE, {Domain.PUBLISH, Domain.DEAD_LETTER} - {domain}), ("q", {domain})):
        with pytest.raises(SignatureError):
            keys.check(signed_part(message, queue), domain=other.pop(), marked=True)


async def test_large_headers_leave_room_for_the_signature():
    """With it they still fit into a frame; without keys they may fill the frame."""
    own = {f"x-{number:03}": "x" for number in range(900)}
    signed = await published(seal(), **own)
    plain = await published(None, **own)
    assert len(signed.headers[PUBLISH]) > 100
    assert size_of(dict(signed.headers)) <= LIMIT
    assert LIMIT - 64 < size_of(dict(plain.headers)) <= LIMIT


class Recording:
    """A recorder with fakes around it."""

    def __init__(self, keys=None):
        self.writer = FakeWriter()
        self.keys = keys or FakeKeys()
        transport = FakeTransport()
        transport.clock = FakeClock()
        self.recorder = Recorder(
            connections(transport, backend=self.keys, writer=self.writer),
            Persistence(longest_wait=0.001),
            announcer=None,
            worker="w",
            result_ttl=60.0,
        )


@pytest.mark.parametrize(("traceback", "stored"), [("Traceback …", "Traceback …"), ("", None)])
async def test_a_dead_letter_without_a_traceback_stores_none(traceback, stored):
    """An empty text is no traceback."""
    recording = Recording()
    failure = Failure(error="e", traceback=traceback)
    await recording.recorder.store_dead(
        read_job(), Dead(reason=Reason.UNKNOWN_TASK, failure=failure)
    )
    assert recording.writer.changes[0].traceback == stored


class FailingKeys(FakeKeys):
    """Keys that are unavailable a number of times."""

    failures = 3

    async def release_key(self, key, owner):
        """Fail, or record the release."""
        if self.failures:
            self.failures -= 1
            raise BackendUnavailableError("gone")
        await super().release_key(key, owner)


async def test_a_key_is_released_again_and_again_until_the_backend_is_back():
    """An outage does not keep a task unique for the rest of its window."""
    recording = Recording(FailingKeys())
    one = read_job(options={UNIQUE_KEY: "k"})
    await recording.recorder.release_key(one, Succeeded(result=b"1", duration=0.1))
    assert recording.keys.events == ["release k of t1"]


@pytest.mark.parametrize(
    ("outcome", "released"),
    [
        (Succeeded(result=b"1", duration=0.1), True),
        (Dead(reason=Reason.REJECTED, failure=Failure(error="e")), True),
        (Revoked(reason="r"), True),
        (Repeated(state=TaskState.FAILED), True),
        (Repeated(state=TaskState.RUNNING), False),
        (Repeated(), False),
        (Retried(failure=Failure(error="e"), delay=1.0), False),
        (Returned(), False),
    ],
)
async def test_a_key_is_released_when_the_task_has_ended(outcome, released):
    """A task that runs again keeps its key, and so does one whose other delivery still runs."""
    recording = Recording()
    await recording.recorder.release_key(read_job(options={UNIQUE_KEY: "k"}), outcome)
    assert recording.keys.events == (["release k of t1"] if released else [])
