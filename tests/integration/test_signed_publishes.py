"""Test that an attacker who can publish, and has seen a signed message, achieves nothing."""

import asyncio
import base64
import functools
import os
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest
from support import eventually

from stem_amqp import ConfigurationError, TaskState
from stem_amqp.clock import timestamp
from stem_amqp.control import revoke
from stem_amqp.dead_letter import ALL, DeadLetters
from stem_amqp.errors import ResultSignatureError
from stem_amqp.messages.commands import Revoke
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, REPEATED, REPLAYS, SINCE
from stem_amqp.results.base import Transition
from stem_amqp.settings import Settings
from stem_amqp.signing.publish import PUBLISH
from stem_amqp.topology.names import REJECTED, REJECTED_KEY
from stem_amqp.transport.publication import Publication

QUEUE = "work"
OTHER = "other"
FAST = {"base": "100ms", "jitter": 0, "max": "100ms"}


def text(data):
    """Return bytes as the text of a key."""
    return base64.b64encode(data).decode()


def store():
    """Return the URL of a new result backend."""
    return f"memory://{uuid.uuid4().hex}"


KEY = f"k1:{text(os.urandom(32))}"


async def letters_of(stem, count=1, queue=QUEUE):
    """Wait for a number of dead letters, and return them."""
    letters = DeadLetters(stem, queue)

    async def there():
        return await letters.count() >= count

    await eventually(there)
    return await letters.list()


@pytest.fixture
def shop(make_stem):
    """Return a function that makes applications with one key, whose tasks record their runs."""

    def make(**values):
        given = {"signing_key": KEY, "backend_url": "rpc://"} | values
        backend, namespace = given.pop("backend_url"), given.pop("namespace", None)
        settings = Settings.load(**{k: v for k, v in given.items() if v is not None})
        more = {} if namespace is None else {"namespace": namespace}
        stem = make_stem(settings=settings, backend_url=backend, **more)
        stem.ran, stem.seen = [], []

        @stem.task("work", queue=QUEUE, max_retries=1, retry=FAST)
        async def work(number: int = 0) -> int:
            stem.ran.append(number)
            if number < 0:
                raise ValueError("no")
            return number

        @stem.task("other", queue=OTHER)
        async def other() -> None:
            stem.ran.append("other")

        return stem

    return make


@asynccontextmanager
async def working(stem):
    """Run a worker during the block, and record what is published."""
    async with stem, stem.worker().running() as worker:
        transport, publish = stem.connected.transport, stem.connected.transport.publish

        async def noting(publication):
            stem.seen.append(publication)
            await publish(publication)

        transport.publish = noting
        stem.put = publish
        yield worker


def seen_first(stem):
    """Return the first published task message, like an eavesdropper."""
    return next(one for one in stem.seen if one.type == "work")


CHANGES = {
    "the same again": lambda p: p,
    "another queue": lambda p: replace(p, routing_key=OTHER),
    "another reply address": lambda p: replace(p, reply_to="stem.reply.attacker"),
    "without a reply address": lambda p: replace(p, reply_to=None),
    "another attempt": lambda p: replace(p, headers=p.headers | {ATTEMPT: 1}),
    "another number of replays": lambda p: replace(p, headers=p.headers | {REPLAYS: 7}),
    "another age": lambda p: replace(p, headers=p.headers | {SINCE: timestamp(0)}),
    "a time to wait for": lambda p: replace(
        p, headers=p.headers | {NOT_BEFORE: "2020-01-01T00:00:00Z"}
    ),
    "another id": lambda p: replace(p, correlation_id="somebody-else"),
    "another name": lambda p: replace(p, type="other"),
    "without the signature of the publish": lambda p: replace(
        p, headers={name: value for name, value in p.headers.items() if name != PUBLISH}
    ),
    "another nonce": lambda p: replace(
        p, headers=p.headers | {PUBLISH: p.headers[PUBLISH].replace(" work", "A work")}
    ),
    "no signature at all": lambda p: replace(p, headers=p.headers | {PUBLISH: "k1 x"}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_captured_message_does_not_run_again(shop, change):
    """A replayed or redirected message goes to the rejected queue, and nothing is stored for it."""
    stem = shop()
    async with working(stem) as worker:
        handle = await stem.enqueue("work", {"number": 1})
        assert await handle.result(timeout=60) == 1
        await stem.put(change(seen_first(stem)))
        (letter,) = await letters_of(stem, queue=REJECTED)
        assert letter.reason in {"signature-invalid", "replayed"}
        assert worker.statistics().signature_invalid == 1
        assert await DeadLetters(stem, QUEUE).count() == 0
        assert await DeadLetters(stem, OTHER).count() == 0
    assert stem.ran == [1]


async def test_a_captured_message_runs_in_no_other_namespace(shop):
    """With the same key in staging and production, the signed namespace differs."""
    stem = shop()
    staging = shop(namespace=f"{stem.names.namespace}-staging")
    async with working(stem), working(staging):
        await stem.enqueue("work", {"number": 1})
        await eventually(lambda: stem.ran == [1])
        await staging.put(replace(seen_first(stem), exchange=staging.names.tasks))
        await letters_of(staging, queue=REJECTED)
    assert staging.ran == []


async def test_the_legitimate_retry_runs_whatever_was_forged(shop):
    """Forged attempts and replays do not make the retry look like one that has already run."""
    stem = shop(backend_url=store())
    async with working(stem):
        handle = await stem.enqueue("work", {"number": -1})
        forged = seen_first(stem)
        await stem.put(replace(forged, headers=forged.headers | {ATTEMPT: 9, REPLAYS: 9}))
        (letter,) = await letters_of(stem)
        assert (letter.id, letter.reason, letter.attempt) == (handle.id, "retries-exhausted", 1)
        await letters_of(stem, queue=REJECTED)
        assert (await stem.record(handle.id)).replay == 0
    assert stem.ran == [-1, -1]


async def test_a_captured_retry_and_a_captured_dead_letter_do_not_run(shop):
    """Every publish of a task is signed for its purpose, also those of a worker."""
    stem = shop()
    async with working(stem):
        await stem.enqueue("work", {"number": -1})
        await letters_of(stem)
        retry, dead = (one for one in stem.seen if one.type == "work" and one.headers.get(ATTEMPT))
        assert dead.exchange == stem.names.dead
        for captured in (retry, dead):
            await stem.put(replace(captured, exchange=stem.names.tasks, routing_key=QUEUE))
        letters = await letters_of(stem, 2, REJECTED)
        assert sorted(letter.reason for letter in letters) == ["replayed", "signature-invalid"]
    assert stem.ran == [-1, -1]


async def test_a_delayed_message_runs_once_and_in_its_time(shop):
    """A copy that bypasses the delay waits too, and one of the two is rejected."""
    stem = shop()
    async with working(stem):
        await stem.enqueue("work", {"number": 4}, delay=3)
        await stem.put(replace(seen_first(stem), exchange=stem.names.tasks, routing_key=QUEUE))
        await letters_of(stem, queue=REJECTED)
        await eventually(lambda: stem.ran == [4])
    assert stem.ran == [4]


async def test_a_message_runs_within_its_window_only(shop):
    """The window begins when the message is due, however long its delay is."""
    window = 4.0  # the second message runs in time also if that takes seconds
    stem = shop(signature_window=window)
    async with stem:
        await stem.enqueue("work", {"number": 1})
        await stem.enqueue("work", {"number": 2}, delay=window + 1)
        due = time.time() + window + 0.1
        await eventually(lambda: time.time() > due)
        async with stem.worker().running():
            (letter,) = await letters_of(stem, queue=REJECTED)
            assert (letter.reason, letter.args) == ("replayed", {"number": 1})
            assert "STEM_SIGNATURE_WINDOW" in letter.error
            await eventually(lambda: stem.ran == [2])
            await DeadLetters(stem, REJECTED).replay(ALL)
            await eventually(lambda: stem.ran == [2, 1])


async def test_what_a_worker_requeues_runs_in_the_next(shop):
    """A redelivery has the same nonce, and is not a copy for this worker and for others."""
    stem = shop()
    held, begun = asyncio.Event(), []

    @stem.task("slow", queue=QUEUE)
    async def slow() -> None:
        begun.append(1)
        await held.wait()

    async with stem:
        async with stem.worker().running() as worker:
            await stem.enqueue("slow")
            await eventually(lambda: begun == [1])
            worker.stop("now")
            worker.stop("now")
        held.set()
        async with stem.worker().running():
            await eventually(lambda: len(begun) == 2)
        assert await DeadLetters(stem, REJECTED).count() == 0


async def test_a_confirm_that_was_lost_is_no_attack(shop):
    """A message that its publisher has sent twice runs once, and is not in the rejected queue."""
    stem = shop()
    async with working(stem) as worker:
        await stem.enqueue("work", {"number": 1})
        await eventually(lambda: worker.statistics().done == 1)
        twice = seen_first(stem)
        await stem.put(replace(twice, headers=twice.headers | {REPEATED: True}))
        await eventually(lambda: worker.statistics().done == 2)
        assert await DeadLetters(stem, REJECTED).count() == 0
    assert stem.ran == [1]


async def test_a_store_of_states_knows_for_every_worker(shop):
    """A second worker has not seen the nonce, but the stored success holds for it too."""
    stem = shop(backend_url=store())
    async with working(stem):
        handle = await stem.enqueue("work", {"number": 1})
        assert await handle.result(timeout=60) == 1
    captured = seen_first(stem)
    async with stem, stem.worker().running() as worker:
        await stem.connected.transport.publish(captured)
        await eventually(lambda: worker.statistics().done == 1)
        assert (await stem.record(handle.id)).state is TaskState.SUCCEEDED
    assert stem.ran == [1]


async def test_the_backend_remembers_for_every_worker(shop, tmp_path):
    """With that setting the backend stores nonces, even without a state of the task."""
    path = f"sqlite:///{tmp_path / 'r.db'}"
    stem = shop(backend_url=path, replay_memory="backend")
    async with working(stem) as worker:
        await stem.enqueue("work", {"number": 1}, ignore_result=True)
        await eventually(lambda: worker.statistics().done == 1)
    captured = seen_first(stem)
    async with stem, stem.worker().running():
        await stem.connected.transport.publish(captured)
        (letter,) = await letters_of(stem, queue=REJECTED)
        assert letter.reason == "replayed"
    assert stem.ran == [1]


async def test_junk_stops_no_task(shop):
    """60 unsigned messages do not fill a dead-letter queue with room for 20."""
    stem = shop(signing_key=KEY)
    kept = stem.topology.queue(QUEUE).dead_letter.model_copy(update={"max_length": 20})
    spec = stem.topology.queue(QUEUE).model_copy(update={"dead_letter": kept})
    stem.reconfigure(
        topology=type(stem.topology)(
            version=1, queues={QUEUE: spec.model_dump(exclude_unset=True, exclude_none=True)}
        )
    )
    async with working(stem):
        for number in range(60):
            junk = Publication(
                exchange=stem.names.tasks,
                routing_key=QUEUE,
                body=b"{" if number % 2 else b'{"v":1,"id":"x","task":"work","args":{}}',
                headers={"stem-signature": "x" * 3000} if number % 3 else {},
            )
            await stem.put(junk)
        handle = await stem.enqueue("work", {"number": 1})
        assert await handle.result(timeout=60) == 1
        await letters_of(stem, 60, REJECTED)
        assert await DeadLetters(stem, QUEUE).count() == 0
        assert await DeadLetters(stem, REJECTED).purge() == 60
        handle = await stem.enqueue("work", {"number": 2})
        assert await handle.result(timeout=60) == 2


async def test_the_rejected_queue_drops_its_oldest(shop):
    """The queue never refuses a message, so no worker waits for room in it."""
    stem = shop()
    rejected = stem.topology.rejected.model_copy(update={"max_length": 5})
    stem.reconfigure(topology=stem.topology.model_copy(update={"rejected": rejected}))
    async with working(stem) as worker:
        for number in range(12):
            await stem.put(
                Publication(
                    exchange=stem.names.tasks, routing_key=QUEUE, body=b"%d" % number, headers={}
                )
            )
        await eventually(lambda: worker.statistics().signature_invalid == 12)
        await eventually(lambda: worker.statistics().done == 12)
        letters = await DeadLetters(stem, REJECTED).list()
        assert len(letters) == 5
        assert await DeadLetters(stem, QUEUE).count() == 0


async def test_nothing_is_stored_of_what_is_refused(shop):
    """The writer of a message can name any task's id."""
    stem = shop(backend_url=store())
    async with working(stem):
        handle = await stem.enqueue("work", {"number": 1})
        assert await handle.result(timeout=60) == 1
        captured = seen_first(stem)
        body = captured.body.replace(handle.id.encode(), b"victim")
        await stem.put(replace(captured, body=body, correlation_id="victim"))
        await letters_of(stem, queue=REJECTED)
        assert await stem.record("victim") is None


async def test_unsigned_messages_do_not_decide_what_is_kept(shop):
    """If they are allowed, their result lifetime and their metadata are ignored."""
    stem = shop(backend_url=store(), require_signature=False)
    plain = shop(backend_url=stem.settings.backend_url, signing_key=None)
    async with plain, working(stem):
        body = (
            b'{"v":1,"id":"%s","task":"work","args":{"number":3},"meta":{"big":"%s"},'
            b'"options":{"result_ttl":9e7}}' % (b"u1", b"x" * 100_000)
        )
        await stem.put(
            Publication(
                exchange=stem.names.tasks,
                routing_key=QUEUE,
                body=body,
                type="work",
                correlation_id="u1",
            )
        )
        await eventually(lambda: stem.ran == [3])

        async def stored():
            record = await stem.record("u1")
            return record is not None and record.state is TaskState.SUCCEEDED and record

        assert (await eventually(stored)).meta == {}


async def test_a_body_that_is_not_encrypted_can_be_refused(shop):
    """With that setting an unencrypted body is rejected."""
    secret = f"c1:{text(os.urandom(32))}"
    stem = shop(encryption_key=secret, encrypt=True, require_encryption=True)
    async with working(stem):
        handle = await stem.enqueue("work", {"number": 1})
        assert await handle.result(timeout=60) == 1
        clear = Publication(exchange=stem.names.tasks, routing_key=QUEUE, body=b"{}")
        await stem.put(clear)
        (letter,) = await letters_of(stem, queue=REJECTED)
        assert letter.reason == "not-encrypted"


async def test_commands_count_with_a_signature_only(shop, caplog):
    """Large, unsigned and captured commands have no effect on a worker, and a signed one has."""
    stem = shop(backend_url=store())
    async with working(stem) as worker:
        large = orjson.dumps({"command": "revoke", "id": "x" * 8_000_000})
        for _ in range(25):
            await stem.put(Publication(exchange=stem.names.control, routing_key="", body=large))
        forged = Revoke(task_id="forged", reason="r").encode()
        await stem.put(Publication(exchange=stem.names.control, routing_key="", body=forged))
        await revoke(stem, "meant", reason="not needed")
        in_effect = functools.partial(worker.steering.directives.in_effect, "revoke")
        await eventually(in_effect, timeout=90)
        assert [(one.target.id, one.reason) for one in in_effect()] == [("meant", "not needed")]
        assert not worker.steering.revocations
        await stem.enqueue("work", {"number": 1}, task_id="meant")
        await stem.enqueue("work", {"number": 2}, task_id="forged")
        await eventually(lambda: stem.ran == [2])
    lines = [record.getMessage() for record in caplog.records if "command" in record.getMessage()]
    assert 1 <= len(lines) <= 27
    assert max(map(len, lines)) < 200


async def test_a_worker_that_cannot_sign_says_so_at_once(shop, tmp_path):
    """The other workers would refuse its retries."""
    stem = shop(signing_key=KEY)
    stem.keys.current.publishing = None
    async with stem:
        with pytest.raises(ConfigurationError, match="cannot sign one"):
            stem.worker()


async def test_the_rejected_queue_exists_with_keys_only(shop):
    """Without keys the queue exists only if the topology file requests it."""
    stem = shop()
    plain = shop(signing_key=None, namespace=f"{stem.names.namespace}-plain")
    async with stem, plain:
        both = await stem.connected.transport.status([stem.names.rejected, plain.names.rejected])
        assert both[stem.names.rejected] is not None
        assert both[plain.names.rejected] is None
        await stem.connected.transport.publish(
            Publication(exchange=stem.names.dead, routing_key=REJECTED_KEY, body=b"x")
        )


async def test_a_forged_success_keeps_no_task_from_running(shop, tmp_path):
    """A forged record in the backend is neither a result nor a reason not to run the task."""
    path = f"sqlite:///{tmp_path / 'r.db'}"
    stem = shop(backend_url=path)
    async with working(stem) as worker:
        forged = Transition(
            task_id="t1", task="work", queue=QUEUE, state=TaskState.SUCCEEDED, at=1.0, result=b"7"
        )
        await stem.connected.backend.inner.transition([forged])
        with pytest.raises(ResultSignatureError, match="it is not signed"):
            await stem.record("t1")
        handle = await stem.enqueue("work", {"number": 1}, task_id="t1")
        await eventually(lambda: stem.ran == [1])
        with pytest.raises(ResultSignatureError):
            await handle.result(timeout=60)
        good = await stem.enqueue("work", {"number": 2}, meta={"who": "Ada"})
        assert await good.result(timeout=60) == 2
        assert (await good.status()).meta == {"who": "Ada"}
        await eventually(lambda: worker.statistics().done == 2)
