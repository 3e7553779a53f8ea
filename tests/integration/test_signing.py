"""Test signed tasks: signed ones run, and unsigned ones become dead letters and never run."""

import base64
import os
from contextlib import asynccontextmanager

import pytest
from support import eventually

from stem_amqp import ConfigurationError, TaskState
from stem_amqp.dead_letter import ALL, DeadLetters, Selection
from stem_amqp.messages.message import TaskMessage
from stem_amqp.settings import Settings
from stem_amqp.signing.extra_keys import Ed25519Key
from stem_amqp.topology.names import REJECTED
from stem_amqp.transport.publication import Publication

QUEUE = "work"
FAST = {"base": "100ms", "jitter": 0, "max": "100ms"}


def text(data):
    """Return bytes as the text of a key file."""
    return base64.b64encode(data).decode()


def entry(key_id, algorithm, *, active=True, **parts):
    """Return one entry of a key file."""
    lines = [f"- id: {key_id}", f"  algorithm: {algorithm}", f"  active: {str(active).lower()}"]
    return "\n".join([*lines, *(f"  {name}: {text(data)}" for name, data in parts.items())])


@pytest.fixture
def key_file(tmp_path):
    """Return a function that writes key files, which other users cannot read."""

    def write(name, *entries):
        path = tmp_path / f"{name}.yaml"
        path.touch(mode=0o600)
        path.write_text("keys:\n" + "\n".join(entries) + "\n")
        return path

    return write


@pytest.fixture
def signed(make_stem):
    """Return a function that makes applications with keys, whose tasks record their runs."""
    ran = []

    def make(**values):
        stem = make_stem(settings=Settings.load(**values), backend_url="memory://results")

        @stem.task("work", queue=QUEUE, max_retries=1, retry=FAST)
        async def work(number: int = 0) -> int:
            ran.append(number)
            if number < 0:
                raise ValueError("no")
            return number

        stem.ran = ran
        return stem

    return make


@asynccontextmanager
async def working(stem):
    """Run a worker of an application during the block."""
    async with stem, stem.worker().running() as worker:
        yield worker


async def letters_of(stem, count=1, queue=QUEUE):
    """Wait for a number of dead letters, and return them."""
    letters = DeadLetters(stem, queue)

    async def there():
        return await letters.count() >= count

    await eventually(there)
    return await letters.list()


async def test_a_signed_task_runs_and_an_unsigned_one_never(signed):
    """Missing, wrong and unknown signatures are counted and dead-lettered as signature-invalid."""
    secret, other = os.urandom(32), os.urandom(32)
    stem = signed(signing_key=f"k1:{text(secret)}")
    events = []
    stem.signals.task_dead_lettered.connect()(events.append)
    forgers = [
        signed(),
        signed(signing_key=f"k1:{text(other)}"),
        signed(signing_key=f"k2:{text(secret)}"),
    ]
    async with working(stem) as worker:
        handle = await stem.enqueue("work", {"number": 1})
        assert await handle.result(timeout=60) == 1
        for number, forger in enumerate(forgers, 2):
            async with forger:
                await forger.enqueue("work", {"number": number})
        letters = await letters_of(stem, 3, REJECTED)
        assert await DeadLetters(stem, QUEUE).count() == 0
        assert {letter.reason for letter in letters} == {"signature-invalid"}
        assert "\n".join(sorted(letter.error for letter in letters)) == (
            "the key 'k2' is unknown to this process\n"
            "the message is not signed\n"
            "the signature by the key 'k1' is not valid for this message"
        )
        assert {letter.args["number"] for letter in letters} == {2, 3, 4}
        assert worker.statistics().signature_invalid == 3
    assert stem.ran == [1]
    assert [event.fields["reason"] for event in events] == ["signature-invalid"] * 3


async def test_a_verify_only_worker_retries_dead_letters_and_its_letters_replay(signed, key_file):
    """The body never changes, so the signature stays valid, and the public key suffices."""
    private = os.urandom(32)
    public = Ed25519Key("web-1", private=private).public_bytes
    web = signed(keys_file=key_file("web", entry("web-1", "ed25519", private=private)))
    shop = signed(
        keys_file=key_file("shop", entry("web-1", "ed25519", active=False, public=public))
    )
    async with web, working(shop) as worker:
        handle = await web.enqueue("work", {"number": -1}, delay=0.2)
        (letter,) = await letters_of(shop)
        assert (letter.id, letter.reason, letter.attempt) == (handle.id, "retries-exhausted", 1)
        assert letter.signature == "valid, by web-1"
        body = letter.body
        report = await DeadLetters(shop, QUEUE).replay(ALL)
        assert report.replayed == 1
        await eventually(lambda: len(shop.ran) == 4)
        (again,) = await letters_of(shop)
        assert (again.reason, again.replays, again.body) == ("retries-exhausted", 1, body)
        assert worker.statistics().signature_invalid == 0
        with pytest.raises(ConfigurationError, match="cannot be signed"):
            await shop.enqueue("work")


async def test_a_refused_message_runs_once_its_key_is_known(signed, key_file):
    """The dead letter is the unchanged message: a replay with the new key runs it."""
    first, second = os.urandom(32), os.urandom(32)
    path = key_file("worker", entry("k1", "hmac-sha256", secret=first))
    stem = signed(keys_file=path)
    web = signed(signing_key=f"k2:{text(second)}")
    async with web, working(stem) as worker:
        handle = await web.enqueue("work", {"number": 5})
        await letters_of(stem, queue=REJECTED)
        assert await stem.record(handle.id) is None or not stem.ran
        both = [
            entry("k1", "hmac-sha256", secret=first),
            entry("k2", "hmac-sha256", active=False, secret=second),
        ]
        key_file("worker", *both)
        change = stem.reload_keys()
        assert (change.added, change.removed, change.signing) == (("k2",), (), "k1")
        meant = Selection(ids=frozenset({handle.id}))
        report = await DeadLetters(stem, REJECTED).replay(meant)
        assert report.replayed == 1
        await eventually(lambda: stem.ran == [5])
        assert worker.statistics().signature_invalid == 1


async def test_a_brand_new_key_is_read_when_its_first_message_comes(signed, key_file):
    """The worker reads a changed key file when a message has an unknown key, without a signal."""
    first, second = os.urandom(32), os.urandom(32)
    stem = signed(keys_file=key_file("worker", entry("k1", "hmac-sha256", secret=first)))
    web = signed(signing_key=f"k2:{text(second)}")
    async with web, working(stem) as worker:
        new = entry("k2", "hmac-sha256", secret=second)
        key_file("worker", entry("k1", "hmac-sha256", active=False, secret=first), new)
        await web.enqueue("work", {"number": 6})
        await eventually(lambda: stem.ran == [6])
        assert worker.statistics().signature_invalid == 0


async def test_where_signatures_are_not_required_unsigned_tasks_run(signed):
    """While some producers have no keys, unsigned tasks can run; wrong signatures cannot."""
    stem = signed(signing_key=f"k1:{text(os.urandom(32))}", require_signature=False)
    plain, forger = signed(), signed(signing_key=f"k1:{text(os.urandom(32))}")
    async with plain, forger, working(stem):
        await plain.enqueue("work", {"number": 1})
        await eventually(lambda: stem.ran == [1])
        await forger.enqueue("work", {"number": 2})
        (letter,) = await letters_of(stem, queue=REJECTED)
    assert letter.reason == "signature-invalid"
    assert stem.ran == [1]


async def test_a_changed_body_is_refused(signed):
    """An attacker cannot use a captured signature for another body."""
    stem = signed(signing_key=f"k1:{text(os.urandom(32))}")
    async with working(stem):
        message = TaskMessage(id="1", task="work", args={"number": 1})
        body, headers = stem.connected.seal.close(message.encode(), {})
        await stem.connected.transport.publish(
            Publication(
                exchange=stem.names.tasks,
                routing_key=QUEUE,
                body=body.replace(b'"number":1', b'"number":9'),
                headers=headers,
                correlation_id="1",
            )
        )
        (letter,) = await letters_of(stem, queue="rejected")
    assert letter.reason == "signature-invalid"
    assert b'"number":9' in letter.body
    assert stem.ran == []


async def test_encrypted_bodies_are_read_with_the_key_only(signed, key_file):
    """Broker and dead letters have only the encrypted body; a replay signs that."""
    keys = [
        entry("k1", "hmac-sha256", secret=os.urandom(32)),
        entry("c1", "aes-256-gcm", secret=os.urandom(32)),
    ]
    stem = signed(keys_file=key_file("all", *keys), encrypt=True)
    blind = signed()
    async with blind, working(stem):
        good = await stem.enqueue("work", {"number": 3}, meta={"who": "Ada"})
        assert await good.result(timeout=60) == 3
        bad = await stem.enqueue("work", {"number": -3})
        (seen,) = await letters_of(stem)
        assert (seen.id, seen.args, seen.encryption) == (bad.id, {"number": -3}, "aes-256-gcm:c1")
        (unseen,) = await letters_of(blind)
        assert (unseen.id, unseen.task, unseen.args) == (bad.id, "work", {})
        assert "this process has no such key" in unseen.problem
        assert b"number" not in unseen.body
        report = await DeadLetters(blind, QUEUE).replay(ALL)
        assert (report.replayed, report.failed) == (0, 1)
        assert "no key to sign the replay" in report.errors[0]
        report = await DeadLetters(stem, QUEUE).replay(ALL)
        assert (report.replayed, report.skipped) == (1, 0)
        await eventually(lambda: stem.ran.count(-3) == 4)
        assert (await stem.record(good.id)).state is TaskState.SUCCEEDED


async def test_a_worker_without_the_key_says_that_it_is_encrypted(signed, key_file):
    """The error does not say that the body is invalid JSON."""
    keys = entry("c1", "aes-256-gcm", secret=os.urandom(32))
    web = signed(keys_file=key_file("all", keys), encrypt=True)
    stem = signed()
    async with web, working(stem):
        await web.enqueue("work")
        (letter,) = await letters_of(stem)
    assert letter.reason == "undecodable"
    assert "is encrypted (aes-256-gcm:c1), and this process has no such key" in letter.error
    assert stem.ran == []


async def test_without_keys_no_header_is_added(signed):
    """Without keys there is no extra header."""
    stem = signed()
    async with stem:
        assert stem.connected.seal is None
        await stem.enqueue("work")
        async with stem.connected.transport.browse(stem.names.work(QUEUE)) as deliveries:
            delivery = await anext(deliveries)
            assert not [name for name in delivery.headers if name.startswith("stem-")]
