"""Plans of groups where messages are signed: sealed once, by the backend."""

import base64
from dataclasses import replace

import orjson
import pytest
from support import eventually

from stem_amqp import Settings, Stem, group
from stem_amqp.errors import ResultSignatureError
from stem_amqp.messages.message import new_id


@pytest.fixture
def stem():
    """Return an application that signs, in memory."""
    url, key = f"memory://{new_id()}", base64.b64encode(b"k" * 32).decode()
    return Stem(settings=Settings.load(broker_url=url, backend_url=url, signing_key=f"k1:{key}"))


def compose(stem, runs):
    """Return a group with a continuation."""

    @stem.task("one")
    async def one(number: int) -> int:
        return number

    @stem.task("total")
    async def total(numbers: list[int]) -> None:
        runs.append(sum(numbers))

    return group(one.s(1), one.s(2)) | total.s()


async def test_a_plan_is_sealed_once(stem):
    """Behind its signature is the plan itself."""
    async with stem:
        handle = await compose(stem, []).enqueue()
        stored = await stem.connected.backend.inner.get_group(f"{handle.id}.0")
        signature, _, body = stored.plan.partition(b"\n")
        assert signature.startswith(b"stem-plan {")
        bound, _, plan = body.partition(b"\n")
        assert bound.decode() == f"{handle.id}.0"
        assert orjson.loads(plan)["id"] == f"{handle.id}.0"


async def test_a_plan_of_an_earlier_version_is_read(stem):
    """It was sealed as a body first; a group that began before the upgrade goes on."""
    async with stem:
        backend, seal = stem.connected.backend, stem.connected.seal
        body, headers = seal.close(b'{"v":1}', {})
        former, spoiled = (
            orjson.dumps({"sealed": base64.b64encode(text).decode(), "headers": headers})
            for text in (body, body + b" ")
        )
        await backend.create_group("former", 1, ttl=60, plan=former)
        assert (await backend.get_group("former")).plan == b'{"v":1}'
        for plan in (spoiled, b'{"sealed":1}', b'{"sealed":'):
            group_id = new_id()
            await backend.create_group(group_id, 1, ttl=60, plan=plan)
            with pytest.raises(ResultSignatureError):
                await backend.get_group(group_id)


async def test_a_rejected_plan_is_named_as_such(stem, monkeypatch, caplog):
    """The continuation does not run, and nobody looks for a ttl that has passed."""
    runs = []
    composition = compose(stem, runs)
    async with stem:
        inner = stem.connected.backend.inner
        whole = type(inner).get_group

        async def forged(self, group_id):
            found = await whole(self, group_id)
            return replace(found, plan=found.plan.replace(b"total", b"other"))

        monkeypatch.setattr(type(inner), "get_group", forged)
        handle = await composition.enqueue()
        async with stem.worker().running():
            rejected = f"what follows group {handle.id}.0 is rejected"
            await eventually(lambda: rejected in caplog.text, "the end of the last member")
            with pytest.raises(ResultSignatureError):
                await stem.connected.backend.get_group(f"{handle.id}.0")
    assert runs == []
    assert "ttl has passed" not in caplog.text
