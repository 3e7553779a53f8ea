"""Final changes are signed: forged entries in a store are refused, in every backend."""

import os

import pytest

from stem_amqp.errors import ResultSignatureError
from stem_amqp.results.base import MemberReport
from stem_amqp.results.filters import TaskQuery
from stem_amqp.results.rpc import values
from stem_amqp.results.signed import signed
from stem_amqp.settings import Signatures
from stem_amqp.signing.extra_keys import AesGcmKey, Ed25519Key
from stem_amqp.signing.group import sign_value
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import HmacKey, Use
from stem_amqp.signing.seal import Seal
from stem_amqp.states import TaskState

SECRET = os.urandom(32)
PRIVATE = os.urandom(32)
ENDS = [
    {"state": TaskState.SUCCEEDED},
    {"state": TaskState.SUCCEEDED, "result": '{"a":1.50,"é":"\\u0000"}'.encode()},
    {
        "state": TaskState.FAILED,
        "reason": "retries-exhausted",
        "error": "ValueError: é \udc80 \0 x",
    },
    {"state": TaskState.REVOKED, "reason": "not needed", "attempt": 3},
    {"state": TaskState.EXPIRED, "meta": {"who": "Ada"}},
]


def seal(signatures=None, *, key=None, namespace="stem"):
    """Return a seal with a key that all share."""
    key = key or HmacKey("k1", SECRET, active=True)
    return Seal(ring=KeyRing.of(key), namespace=namespace, required=True, signatures=signatures)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end["state"].value)
async def test_an_end_is_believed_as_it_was_written(sides, end):
    """This holds for any texts and bytes in the store; the metadata has no signature."""
    task_id = await sides.queued()
    producer, worker = signed(sides.producer, seal()), signed(sides.worker, seal())
    assert (await producer.get(task_id)).state is TaskState.QUEUED
    given = dict(end)
    await worker.transition([sides.change(task_id, given.pop("state"), **given)])
    record = await producer.wait(task_id, 20)
    assert record.state is end["state"]
    assert record.meta == end.get("meta", {})
    assert record.result == end.get("result", b"1" if record.state is TaskState.SUCCEEDED else None)
    assert await producer.get(task_id) == record


FORGED = {
    "unsigned": None,
    "another key": seal(key=HmacKey("k1", os.urandom(32), active=True)),
    "an unknown key": seal(key=HmacKey("k9", SECRET, active=True)),
    "another namespace": seal(namespace="staging"),
}


@pytest.mark.parametrize("by", FORGED.values(), ids=FORGED.keys())
async def test_an_unverified_end_is_refused(sides, by):
    """Write access to the store or the reply queue does not allow setting a result."""
    producer, forger = signed(sides.producer, seal()), signed(sides.worker, by)
    task_id = await sides.queued()
    await forger.transition([sides.change(task_id, TaskState.SUCCEEDED, result=b'"forged"')])
    if sides.stores:
        with pytest.raises(ResultSignatureError, match="is rejected"):
            await producer.wait(task_id, 20)
        with pytest.raises(ResultSignatureError, match="STEM_SIGNATURES=transition"):
            await producer.get(task_id)
        return
    # A forged reply is not stored: the real one still counts
    worker = signed(sides.worker, seal())
    await worker.transition([sides.change(task_id, TaskState.SUCCEEDED, result=b'"real"')])
    assert (await producer.wait(task_id, 20)).result == b'"real"'


@pytest.mark.parametrize(
    "change",
    [
        {"result": b"2"},
        {"state": TaskState.FAILED, "result": None},
        {"attempt": 5},
        {"replay": 1},
        {"task": "shop.other"},
    ],
    ids=str,
)
async def test_a_signature_fits_one_end_only(sides, change):
    """It is invalid with another result, state or task."""
    if not sides.stores:
        pytest.skip("a reply is refused before it is stored, which another test shows")
    producer, worker = signed(sides.producer, seal()), signed(sides.worker, seal())
    first, second = await sides.queued(), await sides.queued()
    await worker.transition([sides.change(first, TaskState.SUCCEEDED)])
    stored = (await sides.producer.get(first)).meta
    assert stored
    given = {"state": TaskState.SUCCEEDED} | change
    state = given.pop("state")
    for task_id in (await sides.queued(), second):
        forged = sides.change(task_id, state, meta=stored, **given)
        await sides.worker.transition([forged])
        with pytest.raises(ResultSignatureError):
            await producer.get(task_id)


async def test_lists_show_what_is_not_believed(sides):
    """One forged record does not hide the others."""
    if not sides.producer.lists_tasks:
        pytest.skip("it makes no lists")
    producer, worker = signed(sides.producer, seal()), signed(sides.worker, seal())
    good, bad = await sides.queued(), await sides.queued()
    await worker.transition([sides.change(good, TaskState.SUCCEEDED)])
    await sides.worker.transition([sides.change(bad, TaskState.SUCCEEDED, result=b'"x"')])
    page = await producer.list_tasks(TaskQuery(states=frozenset({TaskState.SUCCEEDED})))
    found = {record.task_id: record for record in page.records}
    assert found[good].result == b"1"
    assert (found[bad].result, found[bad].reason) == (None, "signature-invalid")
    assert "is rejected" in found[bad].error


async def test_in_the_transition_an_unsigned_end_counts(sides):
    """Workers of an earlier release write them; a wrong signature is still refused."""
    producer = signed(sides.producer, seal(Signatures.TRANSITION))
    task_id = await sides.queued()
    await sides.worker.transition([sides.change(task_id, TaskState.SUCCEEDED)])
    assert (await producer.wait(task_id, 20)).result == b"1"


async def test_a_workers_own_key_signs_results(sides):
    """The producer has its public half, and cannot forge one."""
    own = Ed25519Key("w1", private=PRIVATE, active=True, use=Use.PUBLISHES)
    public = Ed25519Key("w1", public=own.public_bytes, use=Use.PUBLISHES)
    producer, worker = signed(sides.producer, seal(key=public)), signed(sides.worker, seal(key=own))
    task_id = await sides.queued()
    await worker.transition([sides.change(task_id, TaskState.SUCCEEDED)])
    assert (await producer.wait(task_id, 20)).result == b"1"


async def test_without_keys_nothing_is_wrapped(sides):
    """Without keys there is no overhead."""
    assert signed(sides.producer, None) is sides.producer


def end(group_id, index=0, state=TaskState.SUCCEEDED, value=b"1", **values):
    """Return the report of a member."""
    return MemberReport(
        group_id=group_id, index=index, task_id=f"t{index}", state=state, value=value, **values
    )


async def test_a_group_is_believed_as_it_was_written(sides):
    """Plan, values and errors come back unchanged, also none and empty ones."""
    producer, worker = signed(sides.producer, seal()), signed(sides.worker, seal())
    group_id = sides.group_id()
    await producer.create_group(group_id, 4, ttl=100, plan=b'{"t":"shop.sum"}\n')
    ends = [
        end(group_id),
        end(group_id, 1, value=b""),
        end(group_id, 2, value=None),
        end(group_id, 3, TaskState.FAILED, None, error="ValueError: é \udc80 \0 x"),
    ]
    assert (await worker.report_members(ends))[-1].complete
    assert (await worker.get_group(group_id)).plan == b'{"t":"shop.sum"}\n'
    members = await producer.group_members(group_id)
    assert [member.value for member in members] == [b"1", b"", None, None]
    assert b"stem-member" in (await sides.producer.group_members(group_id))[0].value
    empty = sides.group_id()
    await producer.create_group(empty, 1, ttl=100)
    assert (await worker.get_group(empty)).plan == b""


@pytest.mark.parametrize(
    "by", [FORGED["unsigned"], FORGED["another namespace"]], ids=["unsigned", "namespace"]
)
async def test_a_forged_plan_is_refused(sides, by):
    """Write access to the store does not let workers enqueue anything."""
    worker, forger = signed(sides.worker, seal()), signed(sides.producer, by)
    group_id = sides.group_id()
    await forger.create_group(group_id, 1, ttl=100, plan=b'{"t":"shop.refund"}')
    with pytest.raises(ResultSignatureError, match=f"what follows group {group_id} is rejected"):
        await worker.get_group(group_id)


async def test_the_plan_of_another_group_is_refused(sides):
    """A signed plan cannot be copied to a group that is completed by others."""
    worker = signed(sides.worker, seal())
    one, other = sides.group_id(), sides.group_id()
    await worker.create_group(one, 1, ttl=100, plan=b"{}")
    stored = (await sides.producer.get_group(one)).plan
    for plan in (stored, b"stem-plan x\n{}", b"stem-plan []\n{}", stored[:-1]):
        await sides.producer.create_group(other, 1, ttl=100, plan=plan)
        with pytest.raises(ResultSignatureError):
            await worker.get_group(other)
        other = sides.group_id()


async def test_a_plan_is_encrypted_where_bodies_are(sides):
    """The arguments of what follows are as secret as those of any task."""
    ring = KeyRing.of(
        HmacKey("k1", SECRET, active=True), AesGcmKey("e1", os.urandom(32), active=True)
    )
    worker = signed(sides.worker, Seal(ring=ring, namespace="stem", required=True, encrypts=True))
    group_id = sides.group_id()
    await worker.create_group(group_id, 1, ttl=100, plan=b'{"a":"iban"}')
    assert b"iban" not in (await sides.producer.get_group(group_id)).plan
    assert (await worker.get_group(group_id)).plan == b'{"a":"iban"}'


@pytest.mark.parametrize(
    "by", [FORGED["unsigned"], FORGED["another namespace"]], ids=["unsigned", "namespace"]
)
async def test_a_forged_member_is_refused(sides, by):
    """What follows a group never gets a result that a worker did not sign."""
    worker, forger = signed(sides.worker, seal()), signed(sides.producer, by)
    group_id = sides.group_id()
    await worker.create_group(group_id, 1, ttl=100)
    await forger.report_members([end(group_id, value=b'"forged"')])
    if not sides.stores:
        # A forged message is ignored, and the real one of the same member is found
        value = sign_value(seal(), (group_id, "0", "t0", "succeeded", ""), b'"real"')
        groups = sides.worker.groups
        await values.put(groups._transport, groups._names, group_id, [end(group_id, value=value)])
        assert [member.value for member in await worker.group_members(group_id)] == [b'"real"']
        return
    with pytest.raises(ResultSignatureError, match=f"member 0 of group {group_id} is rejected"):
        await worker.group_members(group_id)


@pytest.mark.parametrize(
    "change",
    [{"value": b"2"}, {"value": None}, {"index": 1}, {"state": TaskState.FAILED}, {"error": "x"}],
    ids=str,
)
async def test_a_members_signature_fits_one_end_only(sides, change):
    """It is invalid with another value, index, state, error or group."""
    if not sides.stores:
        pytest.skip("a forged message is ignored, which another test shows")
    worker = signed(sides.worker, seal())
    one, other = sides.group_id(), sides.group_id()
    for group_id in (one, other):
        await worker.create_group(group_id, 2, ttl=100)
    await worker.report_members([end(one)])
    (member,) = await sides.worker.group_members(one)
    head = member.value.partition(b"\n")[0] + b"\n"
    value = change.get("value", b"1")
    stored = head.replace(b" +", b" -") if value is None else head + value
    fields = {"index": 0, "state": TaskState.SUCCEEDED} | change | {"value": stored}
    await sides.worker.report_members([end(other, **fields)])
    with pytest.raises(ResultSignatureError, match="not valid"):
        await worker.group_members(other)


async def test_in_the_transition_an_unsigned_member_counts(sides):
    """Workers without a key report it; a wrong signature is still refused."""
    producer = signed(sides.producer, seal(Signatures.TRANSITION))
    group_id = sides.group_id()
    await producer.create_group(group_id, 1, ttl=100)
    await sides.worker.report_members([end(group_id)])
    assert [member.value for member in await producer.group_members(group_id)] == [b"1"]
