"""A debounced message runs unless a later equal call is marked; one look-up decides."""

import pytest
from worker_fakes import Rig, body, job

from stem_amqp.errors import BackendError, BackendUnavailableError
from stem_amqp.messages.message import ATTEMPT, REPLAYS
from stem_amqp.outcome import Dead, Revoked, Succeeded
from stem_amqp.results.debounce import OWNER, Mark
from stem_amqp.states import Reason

KEY = "debounce:t:work:abc"
PLACE = {"key": KEY, "window": 1, "number": 1}


def work():
    """Return at once."""
    return 1


async def marked(rig, *latest):
    """Store a mark, and return the backend, whose look-ups are counted."""
    backend = rig.executor._backend
    await backend.open()
    value = Mark(first=1.0, due=2.0, latest=latest).encode()
    await backend.swap_key(KEY, OWNER, ttl=60, expected=None, value=value)
    return backend


def counted(backend, monkeypatch, errors=()):
    """Count the look-ups; the first ones raise the errors."""
    looked, claim, errors = [], backend.claim_key, list(errors)

    async def claim_key(key, owner, *, ttl):
        looked.append(key)
        if errors:
            raise errors.pop(0)
        return await claim(key, owner, ttl=ttl)

    monkeypatch.setattr(backend, "claim_key", claim_key)
    return looked


async def test_a_superseded_message_is_revoked_after_one_look_up(monkeypatch):
    """It has no run, and so no start."""
    rig = Rig()
    looked = counted(await marked(rig, (1, 2, "t2")), monkeypatch)
    outcome = await rig.run(work, body(options={"debounce": PLACE}))
    assert outcome == Revoked(reason="superseded by t2")
    assert looked == [KEY]
    assert rig.watcher.begun == []


async def test_the_latest_message_runs(monkeypatch):
    """A message that is not debounced is not looked up."""
    rig = Rig()
    looked = counted(await marked(rig, (1, 1, "t1")), monkeypatch)
    assert isinstance(await rig.run(work, body(options={"debounce": PLACE})), Succeeded)
    assert looked == [KEY]
    assert isinstance(await rig.executor.execute(job()), Succeeded)
    assert looked == [KEY]


@pytest.mark.parametrize("headers", [{ATTEMPT: 1}, {REPLAYS: 1}])
async def test_a_retry_and_a_replay_are_not_looked_up(headers, monkeypatch):
    """The first delivery decided, or an operator did."""
    rig = Rig()
    looked = counted(await marked(rig, (1, 2, "t2")), monkeypatch)
    outcome = await rig.run(work, body(options={"debounce": PLACE}), headers=headers)
    assert isinstance(outcome, Succeeded)
    assert looked == []


async def test_while_the_backend_does_not_answer_the_message_waits(monkeypatch, caplog):
    """Whether it is the latest is known afterwards."""
    rig = Rig()
    errors = [BackendUnavailableError("down")] * 2
    looked = counted(await marked(rig, (1, 2, "t2")), monkeypatch, errors)
    outcome = await rig.run(work, body(options={"debounce": PLACE}))
    assert outcome == Revoked(reason="superseded by t2")
    assert len(looked) == 3
    assert caplog.text.count("it is not known yet whether it is the latest call: down") == 2


async def test_a_backend_that_cannot_say_it_lets_the_message_run(monkeypatch, caplog):
    """Another failure, or a backend without keys: a run too many is better than none."""
    rig = Rig()
    counted(await marked(rig, (1, 2, "t2")), monkeypatch, [BackendError("broken")])
    assert isinstance(await rig.run(work, body(options={"debounce": PLACE})), Succeeded)
    assert "runs without a look at later calls: broken" in caplog.text
    without = Rig()
    backend = await marked(without, (1, 2, "t2"))
    backend.keeps_keys = False
    assert isinstance(await without.run(work, body(options={"debounce": PLACE})), Succeeded)


async def test_a_malformed_place_is_a_dead_letter():
    """Like any other malformed option."""
    outcome = await Rig().run(work, body(options={"debounce": {"key": "unique:k"}}))
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.UNDECODABLE
