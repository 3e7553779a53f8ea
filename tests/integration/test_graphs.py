"""Graphs from end to end: members that wait for others, on both brokers and each backend that counts."""

import asyncio
import base64
import contextlib
import uuid

import pytest
from support import PATIENCE, eventually

from stem_amqp import ConfigurationError, FailedMember, Settings, TaskFailedError, graph

KEY = base64.b64encode(b"k" * 32).decode()


class Warehouse:
    """Tasks that write down what has ended when they start."""

    def __init__(self, stem):
        self.stem = stem
        self.ended = []
        self.seen = {}
        self.broken = set()

        @stem.task("work", queue="work", max_retries=0)
        async def work(name: str) -> str:
            self.seen.setdefault(name, []).append(set(self.ended))
            if name in self.broken:
                raise ValueError(f"no {name}")
            await asyncio.sleep(0)
            self.ended.append(name)
            return name

        @stem.task("pack", queue="pack")
        async def pack(parts: list[str | FailedMember]) -> str:
            return "+".join("?" if isinstance(one, dict) else one for one in parts)

        self.work, self.pack = work, pack

    def order(self, **options):
        """Return a graph of two levels, and a member alone."""
        members = {
            "pay": self.work.si("pay"),
            "pick": self.work.si("pick-1") | self.work.si("pick-2"),
            "pack": self.pack.s(),
            "ship": self.work.si("ship"),
            "mail": self.work.si("mail"),
        }
        needs = {"pack": ["pay", "pick"], "ship": ["pack", "pick"]}
        return graph(members, depends_on=needs, **options)


@contextlib.asynccontextmanager
async def working(stem):
    """Run two workers with the tasks of these tests."""
    shop = Warehouse(stem)
    async with stem, stem.worker().running(), stem.worker().running():
        yield shop


RESULT = ["pay", "pick-2", "pay+pick-2", "ship", "mail"]


async def check(shop):
    """Run many graphs at once, a failing one, and its retry."""
    handles = [await shop.order().enqueue() for _ in range(10)]
    results = [await one.result(timeout=PATIENCE) for one in handles]
    assert results == [RESULT] * 10
    assert {name: len(seen) for name, seen in shop.seen.items()} == dict.fromkeys(
        ["pay", "pick-1", "pick-2", "ship", "mail"], 10
    )
    assert all({"pay", "pick-2"} <= ended for ended in shop.seen["ship"])
    shop.broken = {"pay"}
    failing = await shop.order().enqueue()
    with pytest.raises(TaskFailedError, match="no pay"):
        await failing.result(timeout=PATIENCE)
    with pytest.raises(TaskFailedError, match=r"link-failed[\s\S]*no pay"):
        await failing.members[3].result(timeout=PATIENCE)
    shop.broken = set()

    async def replayed():
        return await failing.retry_failed() == 1

    await eventually(replayed, "a dead letter that is replayed")

    async def mended():
        return await failing.progress() == (5, 0, 5)

    await eventually(mended, "the members after the failed one")
    assert await failing.result(timeout=PATIENCE) == RESULT
    assert len(shop.seen["ship"]) == 11


async def test_graphs_with_each_store(stem_with_keys):
    """Each member runs once, after all that it depends on, also after a failure that is mended."""
    async with working(stem_with_keys) as shop:
        await check(shop)


async def test_graphs_with_postgresql(make_stem, stem_postgres_url):
    """As with the other stores."""
    async with working(make_stem(backend_url=stem_postgres_url)) as shop:
        await check(shop)


async def test_graphs_with_replies(make_stem):
    """RabbitMQ counts too, of a bounded size."""
    async with working(make_stem(backend_url="rpc://")) as shop:
        handle = await shop.order(policy="collect").enqueue()
        assert await handle.result(timeout=PATIENCE) == RESULT
        many = {f"n{number}": shop.work.si("n") for number in range(1001)}
        with pytest.raises(ConfigurationError, match=r"redis://, postgresql:// or sqlite"):
            await graph(many, depends_on={"n1": ["n0"]}).enqueue()


async def test_graphs_with_signatures_and_encryption(make_stem):
    """What waits is not readable in the store."""
    settings = Settings.load(signing_key=f"k1:{KEY}", encryption_key=f"k2:{KEY}", encrypt=True)
    stem = make_stem(settings=settings, backend_url=f"memory://{uuid.uuid4().hex}")
    async with working(stem) as shop:
        await check(shop)
        handle = await shop.order().enqueue()
        await handle.result(timeout=PATIENCE)
        gate = await stem.connected.backend.inner.get_group(f"{handle.id}.0.2.0")
        assert gate.size == 2
        assert b"pack" not in gate.plan
        early = await shop.work.s("early").allow_dependents().enqueue()
        later = graph({"pack": shop.pack.s()}, depends_on={"pack": [early]})
        await (await later.enqueue()).result(timeout=PATIENCE)


async def test_blocking_code_enqueues_graphs(stem):
    """With a handle that does not need an event loop."""
    async with working(stem) as shop:

        def work():
            return shop.order().enqueue_blocking().result(PATIENCE)

        assert await asyncio.to_thread(work) == RESULT


async def test_members_wait_for_links_that_end_meanwhile(stem_with_keys):
    """No end is missed, whenever it comes, and each member runs once."""
    async with working(stem_with_keys) as shop:

        async def order(number):
            paid = await shop.work.s(f"pay-{number}").allow_dependents().enqueue()
            for _ in range(number % 7):
                await asyncio.sleep(0)
            members = {"pack": shop.pack.s(), "ship": shop.work.si(f"ship-{number}")}
            needs = {"pack": [paid], "ship": [paid, "pack"]}
            return await graph(members, depends_on=needs).enqueue()

        handles = await asyncio.gather(*map(order, range(40)))
        for number, handle in enumerate(handles):
            expected = [f"pay-{number}", f"ship-{number}"]
            assert await handle.result(timeout=PATIENCE) == expected
            ((ended),) = shop.seen[f"ship-{number}"]
            assert f"pay-{number}" in ended


async def test_a_link_cannot_have_dependents_without_keys(make_stem):
    """The error names the backends that keep them, and nothing is sent."""
    async with working(make_stem(backend_url="rpc://")) as shop:
        with pytest.raises(ConfigurationError, match=r"redis://, postgresql:// or sqlite"):
            await shop.work.s("pay").allow_dependents().enqueue()
        assert shop.seen == {}
